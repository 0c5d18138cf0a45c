"""Kinds that are served in two versions, and stored in one.

    autoscaling/v1 HorizontalPodAutoscaler  ⇄  autoscaling/v2 (stored)
    events.k8s.io/v1 Event                  ⇄  v1 Event (stored)

The Api turns a request for the other version into one for the stored version, and its answers back. What one version
has no field for is kept: of an autoscaler as annotations, as Kubernetes does it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from controlplane.apiserver.items import ApiEvent, Item
from kubeapi import codec
from kubeapi.errors import BadRequest
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import autoscaling_v1, autoscaling_v2, core_v1, events_v1


@dataclass(frozen=True)
class Twin:
    stored: Resource
    up: Callable[[Any], Any]
    """To the stored version."""
    down: Callable[[Any], Any]
    """From the stored version."""

    def item(self, item: Item) -> Item:
        """Made once for each object, shared by all who ask."""
        found = item.forms.get("twin")
        if found is None:
            found = item.forms["twin"] = Item(item.key, self.down(item.object), item.revision)
        return found

    def events(self, batch: Sequence[ApiEvent]) -> list[ApiEvent]:
        return [e if e.item is None else replace_item(e, self.item(e.item)) for e in batch]


def replace_item(event: ApiEvent, item: Item) -> ApiEvent:
    return ApiEvent(event.type, item, event.revision, event.initial_events_end)


@functools.cache
def twin_of(resource: Resource) -> Twin | None:
    """None for all that is stored as it is served."""
    made = _TWINS.get((resource.group, resource.version, resource.plural))
    if made is None:
        return None
    stored, up, down = made
    return Twin(SCHEME.resource_of(stored), up, down)


# ------------------------------------------------------------------ events


def _event_up(e: events_v1.Event) -> core_v1.Event:
    series = e.series
    return core_v1.Event(
        metadata=e.metadata,
        involved_object=e.regarding,
        reason=e.reason,
        message=e.note,
        source=e.deprecated_source,
        first_timestamp=e.deprecated_first_timestamp,
        last_timestamp=e.deprecated_last_timestamp,
        count=e.deprecated_count,
        type=e.type,
        event_time=e.event_time,
        series=core_v1.EventSeries(count=series.count, last_observed_time=series.last_observed_time)
        if series is not None
        else None,
        action=e.action,
        related=e.related,
        reporting_component=e.reporting_controller,
        reporting_instance=e.reporting_instance,
    )


def _event_down(e: core_v1.Event) -> events_v1.Event:
    series = e.series
    return events_v1.Event(
        metadata=e.metadata,
        regarding=e.involved_object,
        reason=e.reason,
        note=e.message,
        deprecated_source=e.source,
        deprecated_first_timestamp=e.first_timestamp,
        deprecated_last_timestamp=e.last_timestamp,
        deprecated_count=e.count,
        type=e.type,
        event_time=e.event_time,
        series=events_v1.EventSeries(count=series.count, last_observed_time=series.last_observed_time)
        if series is not None
        else None,
        action=e.action,
        related=e.related,
        reporting_controller=e.reporting_component,
        reporting_instance=e.reporting_instance,
    )


def last_seen(event: core_v1.Event) -> datetime:
    """When the event was last told of."""
    moments = [event.metadata.creation_timestamp, event.first_timestamp, event.last_timestamp]
    texts = [event.event_time, event.series.last_observed_time if event.series is not None else None]
    for text in texts:
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            continue
        moments.append(moment.replace(tzinfo=moment.tzinfo or UTC) if moment is not None else None)
    return max((m for m in moments if m is not None), default=datetime(1970, 1, 1, tzinfo=UTC))


# ------------------------------------------------------------------ autoscalers

_ALPHA = "autoscaling.alpha.kubernetes.io/"


def _is_cpu(metric: autoscaling_v2.MetricSpec) -> bool:
    source = metric.resource
    return source is not None and source.name == "cpu" and source.target.average_utilization is not None


def _cpu(percent: int) -> autoscaling_v2.MetricSpec:
    target = autoscaling_v2.MetricTarget(type="Utilization", average_utilization=percent)
    return autoscaling_v2.MetricSpec(
        type="Resource", resource=autoscaling_v2.ResourceMetricSource(name="cpu", target=target)
    )


def _hpa_up(h: autoscaling_v1.HorizontalPodAutoscaler) -> autoscaling_v2.HorizontalPodAutoscaler:
    kept = {k: v for k, v in h.metadata.annotations.items() if not k.startswith(_ALPHA)}
    extra = {k.removeprefix(_ALPHA): v for k, v in h.metadata.annotations.items() if k.startswith(_ALPHA)}

    def read(name: str, type_: Any, default: Any) -> Any:
        if name not in extra:
            return default
        try:
            return msgspec.json.decode(extra[name], type=type_)
        except msgspec.MsgspecError as error:
            raise BadRequest(f"metadata.annotations[{_ALPHA}{name}]: {error}") from error

    spec, status = h.spec, h.status
    metrics = read("metrics", list[autoscaling_v2.MetricSpec], [])
    if spec.target_cpu_utilization_percentage is not None:
        metrics = [_cpu(spec.target_cpu_utilization_percentage), *metrics]
    current = read("current-metrics", list[autoscaling_v2.MetricStatus], [])
    if status.current_cpu_utilization_percentage is not None:
        value = autoscaling_v2.MetricValueStatus(average_utilization=status.current_cpu_utilization_percentage)
        cpu = autoscaling_v2.ResourceMetricStatus(name="cpu", current=value)
        current = [autoscaling_v2.MetricStatus(type="Resource", resource=cpu), *current]
    ref = spec.scale_target_ref
    return autoscaling_v2.HorizontalPodAutoscaler(
        metadata=replace(h.metadata, annotations=kept),
        spec=autoscaling_v2.HorizontalPodAutoscalerSpec(
            scale_target_ref=autoscaling_v2.CrossVersionObjectReference(
                kind=ref.kind, name=ref.name, api_version=ref.api_version
            ),
            min_replicas=spec.min_replicas,
            max_replicas=spec.max_replicas,
            metrics=metrics,
            behavior=read("behavior", autoscaling_v2.HorizontalPodAutoscalerBehavior, None),
        ),
        status=autoscaling_v2.HorizontalPodAutoscalerStatus(
            observed_generation=status.observed_generation,
            last_scale_time=status.last_scale_time,
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            current_metrics=current,
            conditions=read("conditions", list[autoscaling_v2.HorizontalPodAutoscalerCondition], []),
        ),
    )


def _hpa_down(h: autoscaling_v2.HorizontalPodAutoscaler) -> autoscaling_v1.HorizontalPodAutoscaler:
    spec, status = h.spec, h.status
    cpu = next((m for m in spec.metrics if _is_cpu(m)), None)
    seen = next((m for m in status.current_metrics if m.resource is not None and m.resource.name == "cpu"), None)
    extra = {
        "metrics": [m for m in spec.metrics if m is not cpu],
        "behavior": spec.behavior,
        "current-metrics": [m for m in status.current_metrics if m is not seen],
        "conditions": status.conditions,
    }
    annotations = {_ALPHA + name: codec.encode(value).decode() for name, value in extra.items() if value}
    ref = spec.scale_target_ref
    return autoscaling_v1.HorizontalPodAutoscaler(
        metadata=replace(h.metadata, annotations={**h.metadata.annotations, **annotations}),
        spec=autoscaling_v1.HorizontalPodAutoscalerSpec(
            scale_target_ref=autoscaling_v1.CrossVersionObjectReference(
                kind=ref.kind, name=ref.name, api_version=ref.api_version
            ),
            min_replicas=spec.min_replicas,
            max_replicas=spec.max_replicas,
            target_cpu_utilization_percentage=cpu.resource.target.average_utilization if cpu and cpu.resource else None,
        ),
        status=autoscaling_v1.HorizontalPodAutoscalerStatus(
            observed_generation=status.observed_generation,
            last_scale_time=status.last_scale_time,
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            current_cpu_utilization_percentage=seen.resource.current.average_utilization
            if seen and seen.resource
            else None,
        ),
    )


_TWINS: dict[tuple[str, str, str], tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    ("events.k8s.io", "v1", "events"): (core_v1.Event, _event_up, _event_down),
    ("autoscaling", "v1", "horizontalpodautoscalers"): (
        autoscaling_v2.HorizontalPodAutoscaler,
        _hpa_up,
        _hpa_down,
    ),
}
