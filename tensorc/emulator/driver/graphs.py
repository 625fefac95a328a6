"""Graphs: captured, instantiated, launched, changed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc.emulator.driver.base import Device, Result, call, fail
from tensorc.emulator.driver.codes import CUgraphNodeType, CUresult
from tensorc.emulator.driver.modules import KernelLaunch, Modules

if TYPE_CHECKING:
    from tensorc.emulator.driver.streams import Node

_INVALID = CUresult.CUDA_ERROR_INVALID_VALUE
_GRAPH = CUgraphNodeType.CU_GRAPH_NODE_TYPE_GRAPH


@dataclass(eq=False)
class Graph:
    """Nodes in an order that their dependences allow."""

    handle: int
    device: Device
    nodes: tuple[Node, ...]


@dataclass(eq=False)
class GraphExec:
    """A graph that can be launched; `launches` are its kernels as they are now."""

    handle: int
    device: Device
    nodes: tuple[Node, ...]
    launches: dict[int, KernelLaunch]


class CUDA_KERNEL_NODE_PARAMS:
    """What a kernel node launches, by the names of `cuda.bindings.driver`."""

    def __init__(self) -> None:
        """Take one block of one thread, of no function yet."""
        self.func: Any = 0
        self.gridDimX = self.gridDimY = self.gridDimZ = 1
        self.blockDimX = self.blockDimY = self.blockDimZ = 1
        self.sharedMemBytes = 0
        self.kernelParams: Any = 0
        self.extra: Any = 0


class Graphs(Modules):
    """cuStreamEndCapture and cuGraph*."""

    CUDA_KERNEL_NODE_PARAMS = CUDA_KERNEL_NODE_PARAMS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start without graphs."""
        super().__init__(*args, **kwargs)
        self._graphs: dict[int, Graph] = {}
        self._execs: dict[int, GraphExec] = {}
        self._random = random.Random(self.options.seed)

    def _kill_context(self, device: Device) -> None:
        super()._kill_context(device)
        self._graphs = {h: g for h, g in self._graphs.items() if g.device is not device}
        self._execs = {h: e for h, e in self._execs.items() if e.device is not device}

    @call(1)
    def cuStreamEndCapture(self, stream: Any) -> Result:
        capture = self._finish_capture(stream)
        graph = Graph(self._handle(), capture.origin.device, tuple(capture.nodes))
        self._graphs[graph.handle] = graph
        return (graph.handle,)

    def _graph(self, handle: Any) -> Graph:
        graph = self._graphs.get(int(handle))
        if graph is None:
            raise fail(_INVALID)
        return graph

    def _exec(self, handle: Any) -> GraphExec:
        executable = self._execs.get(int(handle))
        if executable is None:
            raise fail(_INVALID)
        return executable

    @call(1)
    def cuGraphInstantiate(self, graph: Any, flags: int) -> Result:
        found = self._graph(graph)
        launches = {node.handle: node.kernel for node in found.nodes if node.kernel is not None}
        executable = GraphExec(self._handle(), found.device, found.nodes, launches)
        self._execs[executable.handle] = executable
        return (executable.handle,)

    @call()
    def cuGraphUpload(self, executable: Any, stream: Any) -> Result:
        self._exec(executable)
        self._stream(stream)
        return ()

    @call()
    def cuGraphLaunch(self, executable: Any, stream: Any) -> Result:
        found = self._exec(executable)
        if found.device is not self._stream(stream).device:
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        self._submit(stream, _GRAPH, lambda: self._run_graph(found))
        return ()

    def _run_graph(self, executable: GraphExec) -> None:
        for node in self._order(executable.nodes):
            if executable.device.broken:
                return
            launch = executable.launches.get(node.handle)
            if launch is not None:
                self._run(launch)
            else:
                node.run()

    def _order(self, nodes: tuple[Node, ...]) -> list[Node]:
        """One of the orders that the dependences allow; which one, the options' order decides."""
        if self.options.order == "forward":
            return list(nodes)
        waiting = {id(node): len(set(map(id, node.after))) for node in nodes}
        followers: dict[int, list[Node]] = {id(node): [] for node in nodes}
        for node in nodes:
            for before in dict.fromkeys(node.after):
                followers[id(before)].append(node)
        ready = [node for node in nodes if not waiting[id(node)]]
        order: list[Node] = []
        while ready:
            last = self.options.order == "reverse"
            place = len(ready) - 1 if last else self._random.randrange(len(ready))
            node = ready.pop(place)
            order.append(node)
            for follower in followers[id(node)]:
                waiting[id(follower)] -= 1
                if not waiting[id(follower)]:
                    ready.append(follower)
        return order

    @call()
    def cuGraphDestroy(self, graph: Any) -> Result:
        del self._graphs[self._graph(graph).handle]
        return ()

    @call()
    def cuGraphExecDestroy(self, executable: Any) -> Result:
        del self._execs[self._exec(executable).handle]
        return ()

    # ---- Nodes

    @call(2)
    def cuGraphGetNodes(self, graph: Any, count: int = 0) -> Result:
        nodes = [node.handle for node in self._graph(graph).nodes]
        return (nodes[:count] if count else [], len(nodes))

    def _node(self, handle: Any) -> Node:
        for graph in self._graphs.values():
            for node in graph.nodes:
                if node.handle == int(handle):
                    return node
        raise fail(_INVALID)

    @call(1)
    def cuGraphNodeGetType(self, node: Any) -> Result:
        return (self._node(node).kind,)

    @call(1)
    def cuGraphKernelNodeGetParams(self, node: Any) -> Result:
        launch = self._node(node).kernel
        if launch is None:
            raise fail(_INVALID)
        params = CUDA_KERNEL_NODE_PARAMS()
        params.func = launch.function.handle
        params.gridDimX, params.gridDimY, params.gridDimZ = launch.grid
        params.blockDimX, params.blockDimY, params.blockDimZ = launch.block
        params.sharedMemBytes = launch.shared
        return (params,)

    @call()
    def cuGraphExecKernelNodeSetParams(self, executable: Any, node: Any, params: Any) -> Result:
        found = self._exec(executable)
        old = found.launches.get(int(node))
        if old is None:
            raise fail(_INVALID)
        grid = (params.gridDimX, params.gridDimY, params.gridDimZ)
        block = (params.blockDimX, params.blockDimY, params.blockDimZ)
        new = self._prepare(
            params.func, grid, block, params.sharedMemBytes, params.kernelParams, params.extra
        )
        found.launches[int(node)] = new
        return ()
