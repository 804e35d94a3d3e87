"""How the bundled model `nano` is made: songs, training, evaluation. Not part of what is installed."""
