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
