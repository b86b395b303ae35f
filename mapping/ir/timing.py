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


def feed_forward_part(graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """``graph`` without the edges inside its cycles: a directed acyclic graph."""
    component = {
        node: number
        for number, nodes in enumerate(nx.strongly_connected_components(graph))
        for node in nodes
    }
    acyclic = graph.copy()
    acyclic.remove_edges_from([(a, b) for a, b in graph.edges if component[a] == component[b]])
    return acyclic


def pipeline_latency(graph: nx.DiGraph[str], output: str) -> int:
    """Steps until the last input step has reached ``output``: the longest feed-forward delay."""
    acyclic = feed_forward_part(graph)
    upstream = nx.ancestors(acyclic, output) | {output}
    return int(nx.dag_longest_path_length(acyclic.subgraph(upstream), weight="delay"))
