"""Runs Dify's workflow files in Dify's own engine (graphon 0.7 and 0.8): with environment values, pauses and resumes.

Triggers are not in the engine: their node becomes a start node with the same id. Nothing else of a file is changed.
Uses private parts of graphon's importer, so versions are pinned in requirements/.
"""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from graphon.dsl import importer, node_factory
from graphon.dsl.entities import DslCredentials
from graphon.graph.graph import Graph
from graphon.nodes.human_input.entities import Completed, Expired, HumanInputNodeData, PauseRequested
from graphon.nodes.human_input.human_input_node import HumanInputNode
from graphon.variables.factory import build_segment
from graphon.variables.template_resolution import convert_template

VERSION: Final = importlib.metadata.version("graphon")
IS_08: Final = tuple(map(int, VERSION.split(".")[:2])) >= (0, 8)
if IS_08:
    from graphon.engine import Engine
    from graphon.runtime.init_params import InitParams
    from graphon.runtime.runtime_state import RuntimeState
else:
    from graphon.entities.graph_init_params import GraphInitParams as InitParams
    from graphon.graph_engine import GraphEngine
    from graphon.graph_engine.command_channels import InMemoryChannel
    from graphon.runtime.graph_runtime_state import GraphRuntimeState as RuntimeState

WORKFLOWS: Final = Path(__file__).resolve().parent / "workflows"
TIMEOUT: Final = "__timeout"
_BUILDING: Final = threading.Lock()

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a run, or of the part of it until it paused."""

    status: str
    """``succeeded``, ``partial`` (an error branch was taken), ``failed`` or ``paused``."""
    outputs: Json
    error: str | None
    visited: tuple[str, ...]
    """Nodes that ended well, in order."""
    snapshot: str | None
    """With ``paused``: all that is needed to go on in another process."""
    form: str | None
    """With ``paused``: the form's text as its reader sees it."""


def load(name: str) -> Json:
    """A template, triggers swapped for start nodes."""
    document: Json = yaml.load((WORKFLOWS / name).read_text("utf-8"), yaml.CSafeLoader)
    for node in document["workflow"]["graph"]["nodes"]:
        if node["data"]["type"].startswith("trigger-"):
            fields = node["data"].get("body", [])
            variables = [
                {"variable": field["name"], "label": field["name"], "type": "text-input", "required": True}
                for field in fields
            ]
            node["data"] = {"type": "start", "title": node["data"]["title"], "variables": variables}
    return document


@functools.cache
def _plan(name: str) -> Any:
    plan = importer.inspect(yaml.dump(load(name), Dumper=yaml.CSafeDumper))
    assert plan.loadable, plan.load_reason  # noqa: S101
    return plan


def run(
    name: str,
    *,
    env: Mapping[str, str],
    inputs: Mapping[str, object] | None = None,
    run_id: str,
    user: str = "dify-user",
    snapshot: str | None = None,
    action: str | None = None,
) -> Run:
    """Runs a template to its end or to its pause; with ``snapshot`` and ``action`` on from there.

    ``action`` is the form's button that was pressed, or ``__timeout``.
    """
    forms: list[str] = []
    with _BUILDING:  # the importer's table of node types is a global
        engine, state = _engine(name, env, inputs or {}, run_id, user, snapshot, _form(action, forms))
    return _run(engine, state, forms)


def _run(engine: Any, state: Any, forms: list[str]) -> Run:
    visited: list[str] = []
    last: Any = None
    error: str | None = None
    try:
        for event in engine.run():
            last = event
            if type(event).__name__ == "NodeRunSucceededEvent":
                visited.append(event.node_id)
    except RuntimeError as failure:  # the engine raises after GraphRunFailedEvent
        error = str(failure)
    status = _STATUS[type(last).__name__]
    return Run(
        status,
        dict(getattr(last, "outputs", None) or {}),
        getattr(last, "error", None) or error,
        tuple(visited),
        state.dumps() if status == "paused" else None,
        forms[-1] if forms and status == "paused" else None,
    )


_STATUS: Final = {
    "GraphRunSucceededEvent": "succeeded",
    "GraphRunPartialSucceededEvent": "partial",
    "GraphRunFailedEvent": "failed",
    "GraphRunPausedEvent": "paused",
}


def _engine(
    name: str,
    env: Mapping[str, str],
    inputs: Mapping[str, object],
    run_id: str,
    user: str,
    snapshot: str | None,
    form: Callable[[Any], Callable[[Any], object]],
) -> tuple[Any, Any]:
    class Factory(node_factory.SlimDslNodeFactory):  # type: ignore[misc]
        NODE_BUILDERS = {**node_factory.SlimDslNodeFactory.NODE_BUILDERS, "human-input": _human(form)}  # noqa: RUF012

    importer.SUPPORTED_DEFAULT_FACTORY_NODE_TYPES = frozenset(Factory.NODE_BUILDERS)
    plan = _plan(name)
    graph_config = copy.deepcopy(plan.document.graph_config)
    root = importer._select_root_node_id(graph_config)
    context = {"workflow_run_id": run_id, "user_id": user}
    if snapshot is None:
        pool = importer._build_variable_pool(
            runtime_variables=plan.document.runtime_variables,
            root_node_id=root,
            run_context=context,
            start_inputs={},
        )
        for key, value in inputs.items():
            pool.add((root, key), value)
        for key, value in env.items():
            pool.add(("env", key), value)
        named = {"workflow_id": "workflow"} if IS_08 else {}
        state = RuntimeState(variable_pool=pool, start_at=time.time(), **named)
    else:
        state = RuntimeState.from_snapshot(snapshot)
    init = InitParams(workflow_id="workflow", graph_config=graph_config, run_context=context, call_depth=0)
    factory = Factory(
        graph_config=graph_config,
        credentials=DslCredentials.model_validate({}),
        dependencies=list(plan.dependencies),
        **_named(init, state),
    )
    graph = Graph.init(graph_config=graph_config, node_factory=factory, root_node_id=root)
    if IS_08:
        return Engine(graph=graph, runtime_state=state), state
    channel = InMemoryChannel()
    return GraphEngine(workflow_id="workflow", graph=graph, graph_runtime_state=state, command_channel=channel), state


def _named(init: Any, state: Any) -> Json:
    if IS_08:
        return {"init_params": init, "runtime_state": state}
    return {"graph_init_params": init, "graph_runtime_state": state}


def _human(form: Callable[[Any], Callable[[Any], object]]) -> Callable[[Any, Any], HumanInputNode]:
    def build(factory: Any, request: Any) -> HumanInputNode:
        names = ("init_params", "runtime_state") if IS_08 else ("graph_init_params", "graph_runtime_state")
        named = {name: getattr(factory, name) for name in names}
        data = HumanInputNodeData.model_validate(request.data_payload)
        return HumanInputNode(node_id=request.node_id, data=data, hitl_callback=form(request), **named)

    return build


def _form(action: str | None, forms: list[str]) -> Callable[[Any], Callable[[Any], object]]:
    """What stands in for Dify's form: no action yet pauses, an action or the form's timeout goes on."""

    def of(request: Any) -> Callable[[Any], object]:
        actions = [one["id"] for one in request.data_payload["user_actions"]]

        def decide(context: Any) -> object:
            if action is None:
                forms.append(convert_template(context.variable_pool, request.data_payload["form_content"]).text)
                return PauseRequested(session_id=f"form-{context.node_id}")
            outputs = {"__action_id": build_segment("" if action == TIMEOUT else action)}
            if action == TIMEOUT:
                return Expired(selected_handle=TIMEOUT, outputs=outputs)
            if action not in actions:
                raise ValueError(f"the form has no action {action}")
            return Completed(selected_handle=action, inputs={}, outputs=outputs)

        return decide

    return of
