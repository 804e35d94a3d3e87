"""A frozen graph in the TensorFlow 2.5 that Essentia brings: the reference. One thread, no GPU."""

from __future__ import annotations

from collections.abc import Mapping

import essentia
import essentia.standard as es
import numpy as np
from essentia import Pool

from stages.graphs.graph_file import GraphFile
from stages.graphs.network import Rows, filled_up

essentia.log.infoActive = False
essentia.log.warningActive = False


class TensorflowNetwork:
    """Runs a graph through `TensorflowPredict`. Essentia holds the GIL: one thread calls.

    Raises:
        RuntimeError: Essentia cannot load it.
    """

    any_thread = False
    runtime = f"essentia-tensorflow {essentia.__version__}"

    def __init__(self, graph: GraphFile, *, batch: int | None) -> None:
        self._graph = es.TensorflowPredict(
            graphFilename=str(graph.path),
            inputs=[graph.input],
            outputs=[*graph.outputs],
            squeeze=True,
        )
        self._input, self._outputs, self.batch = graph.input, graph.outputs, batch

    def run(self, batch: Rows) -> Mapping[str, Rows]:
        # A view that does not lie in one piece is read as if it did.
        whole = np.ascontiguousarray(filled_up(batch, self.batch))
        pool = Pool()
        # Always four dimensions; those of one are taken out again before they reach the graph.
        pool.set(self._input, whole.reshape(len(whole), 1, -1, whole.shape[-1]))
        found = self._graph(pool)
        return {name: found[name].reshape(len(whole), -1)[: len(batch)] for name in self._outputs}
