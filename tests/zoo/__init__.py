"""The audio zoo: inputs that are bad or odd, and a table of what a run must make of each.

python -m tests.zoo FOLDER     # write them all, to look at
python -m tests.zoo --run      # run `pipeline` over them, and print: input, expected, found
"""
