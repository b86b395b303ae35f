"""Delays along the graph of populations and projections."""

from __future__ import annotations

import networkx as nx


def delay_graph(populations: list[str], edges: list[tuple[str, str, int]]) -> nx.DiGraph[str]:
    """Graph of ``(source, target, delay)`` edges; parallel edges keep the longer delay."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(populations)
    for source, target, delay in edges:
        known = graph.get_edge_data(source, target, {"delay": 0})["delay"]
        graph.add_edge(source, target, delay=max(delay, known))
    return graph


def feed_forward_part(graph: nx.DiGraph[str], source: str) -> nx.DiGraph[str]:
    """``graph`` without the edges that lead back: a directed acyclic graph.

    An edge leads back if a depth-first search, from ``source`` first, finds its target among the
    ancestors on the way, so every population that ``source`` reaches stays reachable.
    """
    acyclic = graph.copy()
    done: set[str] = set()
    for root in (source, *graph.nodes):
        if root in done:
            continue
        way = [root]
        branches = [iter(list(graph.successors(root)))]
        while way:
            target = next(branches[-1], None)
            if target is None:
                done.add(way.pop())
                branches.pop()
            elif target in way:
                acyclic.remove_edge(way[-1], target)
            elif target not in done:
                way.append(target)
                branches.append(iter(list(graph.successors(target))))
    return acyclic


def pipeline_latency(graph: nx.DiGraph[str], source: str, output: str) -> int:
    """Steps until the last input step has reached ``output``: the longest feed-forward delay."""
    acyclic = feed_forward_part(graph, source)
    between = (nx.ancestors(acyclic, output) | {output}) & (
        nx.descendants(acyclic, source) | {source}
    )
    return int(nx.dag_longest_path_length(acyclic.subgraph(between), weight="delay"))


def lateness(populations: list[str], edges: list[tuple[str, str, int]]) -> dict[str, int] | None:
    """How many steps later populations run once some ways between them take longer.

    A population runs as late as the latest of its inputs makes it. The others then need a delay
    of ``lateness[target] - lateness[source] - longer``, which is never negative.

    Args:
        populations: their names.
        edges: ``(source, target, longer)`` of every way, control included; ``longer`` in steps.

    Returns:
        Steps by population; None if a way that takes longer leads back to where it comes from.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(populations)
    graph.add_edges_from((source, target) for source, target, _ in edges)
    loops = nx.condensation(graph)
    loop_of: dict[str, int] = loops.graph["mapping"]
    late = dict.fromkeys(loops.nodes, 0)
    if any(longer and loop_of[source] == loop_of[target] for source, target, longer in edges):
        return None
    leaving: dict[int, list[tuple[int, int]]] = {number: [] for number in loops.nodes}
    for source, target, longer in edges:
        leaving[loop_of[source]].append((loop_of[target], longer))
    for number in nx.topological_sort(loops):
        for target_number, longer in leaving[number]:
            if target_number != number:
                late[target_number] = max(late[target_number], late[number] + longer)
    return {name: late[loop_of[name]] for name in populations}
