"""What the spec says about the loop of one endpoint: how it is watched, rolled out and retrained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fairlead.kit.spec.part import Part, Seconds

Metric = Literal["accuracy", "roc_auc", "recall", "precision", "log_loss", "brier", "mae", "rmse"]
"""Those that can be watched row by row."""


class Labels(Part):
    """Performance on labels that come late."""

    delay: Seconds = Field(default=0.0, ge=0)
    """How old a prediction is when its label is there; 0: learned from the labels that come."""
    metric: Metric | None = Field(default=None, examples=["roc_auc"])
    """What performance is measured by; null: accuracy of classes, mae of a quantity."""
    margin: float = Field(default=0.01, ge=0)
    """How much worse is still fine, as a loss between 0 and 1."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Probability of ever raising a false alarm on one version."""


class AlertRule(Part):
    """Fires when in `k` of the last `m` windows the watched number was over `above` or under `below`."""

    name: str = Field(min_length=1)
    """What the alert is called."""
    watch: str = Field(min_length=1, examples=["drift.psi.in.age"])
    """`errors.rate`, `degraded.rate`, `drift.columns`, `drift.KIND.COLUMN` (psi, ks, ...) or `performance.decayed`."""
    above: float | None = Field(default=None, examples=[0.05])
    """The largest value that is fine."""
    below: float | None = Field(default=None, examples=[0.01])
    """The smallest value that is fine."""
    k: int = Field(default=1, ge=1, le=1000)
    """Windows that must be on the wrong side."""
    m: int = Field(default=1, ge=1, le=1000)
    """Windows that are looked at."""
    severity: str = "warning"
    """A label of the alert, for who receives it."""
    asks: Literal["", "drift", "performance"] = ""
    """The trigger of a retraining that it is, if it is one."""


class Alerts(Part):
    """Who is told, and of what beside drift, decay and errors."""

    webhook: str = Field(default="", pattern=r"^(https?://.+)?$", examples=["https://alerts.example.org/hook"])
    """URL that gets alerts as Alertmanager posts them."""
    rules: tuple[AlertRule, ...] = ()
    """Further rules; one that is called Drift, PerformanceDecay or ErrorRate takes the place of that."""


class Monitor(Part):
    """What is watched. At most ``false_alarms`` false drift alarms in ``days`` days, on average."""

    false_alarms: float = Field(default=1.0, gt=0)
    """False drift alarms that are allowed, on average, in so many `days`."""
    days: float = Field(default=90.0, gt=0)
    """Days of which `false_alarms` speaks."""
    window: Seconds = Field(default=3600.0, ge=1, le=86_400 * 31)
    """Length of the windows that are tested for drift."""
    season: Literal["", "day", "week"] = ""
    """`day` or `week` (UTC): a window is held against those at the same time of it; empty: against all."""
    least_rows: int = Field(default=50, ge=1)
    """A window of fewer rows is not tested."""
    learn_windows: int = Field(default=672, ge=0)
    """Clean windows from which the usual unrest of the stream is learned; then it stands."""
    least_windows: int = Field(default=48, ge=0)
    """Windows to learn from before a difference that is not large may alarm."""
    quiet_windows: int = Field(default=24, ge=0)
    """Windows without an alarm after which the next one is a new alarm."""
    prediction: str = ""
    """The output that holds the class or the value; empty: as the outputs look."""
    score: str = ""
    """The output that holds the probability, or one for each class; empty: as the outputs look."""
    labels: Labels = Labels()
    """Performance on labels that come late."""
    alerts: Alerts = Alerts()
    """Who is told, and of what beside drift, decay and errors."""


class RolloutGate(Part):
    """A gate by name, with what it allows."""

    name: str
    """`error_rate`, `latency_p99` (any percentile), `prediction_drift`, `flip_rate` or `mean:METRIC`."""
    margin: float | None = Field(default=None, examples=[0.01])
    """How much worse the candidate may be; null: the gate's own default."""
    higher_is_better: bool = True
    """For `mean:METRIC`: whether more of it is better."""


def _gate(value: Any) -> Any:
    """A gate's bare name stands for the gate with its default margin."""
    return {"name": value} if isinstance(value, str) else value


class Rollout(Part):
    """How a new version takes the place of the champion."""

    strategy: Literal["canary", "blue-green", "shadow"] = "canary"
    """`canary`: growing shares. `blue-green`: checked at 0 %, then all. `shadow`: never seen by a caller."""
    steps: tuple[float, ...] = (5.0, 25.0, 50.0, 100.0)
    """Percent of the calls that the candidate gets, growing; for a canary."""
    gates: tuple[Annotated[RolloutGate, BeforeValidator(_gate, json_schema_input_type=str | RolloutGate)], ...] = (
        RolloutGate(name="error_rate"),
        RolloutGate(name="latency_p99"),
        RolloutGate(name="prediction_drift"),
    )
    """What the candidate must pass: a name, or a mapping with name and margin."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of a false abort over the whole rollout, and of each false pass."""
    min_calls: int = Field(default=200, ge=1)
    """A step ends not before the candidate answered so many calls."""
    min_seconds: Seconds = Field(default=30.0, ge=0)
    """A step ends not before this time."""
    max_seconds: Seconds = Field(default=86_400.0, gt=0)
    """After this time without a decision `on_timeout` says what happens."""
    on_timeout: Literal["pause", "abort"] = "pause"
    """`pause` or `abort` a step that took `max_seconds`."""
    shadow: float = Field(default=0.0, ge=0, le=100)
    """Percent of the calls that the candidate answers unseen before its first step; 0: none."""
    shadow_calls: int = Field(default=200, ge=1)
    """Calls that the shadow must have answered."""
    settle_seconds: Seconds = Field(default=2.0, ge=0)
    """Time after a new split in which calls are not counted."""
    keep_seconds: Seconds = Field(default=0.0, ge=0)
    """How long the old version stays loaded after the promotion, to be reverted to at once."""
    sticky: str = Field(default="", pattern=r"^((header|field):.+)?$")
    """`header:NAME` or `field:NAME` whose value decides which version a caller gets; empty: each call anew."""


class RetrainGate(Part):
    """What a retrained model must show before it is rolled out."""

    metric: str = "roc_auc"
    """What both models are compared by on held-out rows."""
    min_lift: float = 0.0
    """How much better the new model must be at least."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """One-sided error of the gate."""
    policy: Literal["superiority", "non-inferiority"] = "superiority"
    """`superiority`: better by `min_lift`. `non-inferiority`: no worse than `margin`, and on fresher data."""
    margin: float = Field(default=0.01, ge=0)
    """What may be lost under `non-inferiority`."""
    min_rows: int = Field(default=200, ge=1)
    """Held-out rows that are needed."""
    slices: tuple[str, ...] = ()
    """Columns whose every value is looked at on its own."""
    slice_margin: float = Field(default=0.05, ge=0)
    """What a slice may lose."""
    min_slice_rows: int = Field(default=100, ge=1)
    """A smaller slice is not looked at."""
    calibration: Literal["", "ece", "brier"] = ""
    """Calibration that must not get worse; empty: not asked."""
    calibration_margin: float = Field(default=0.02, ge=0)
    """How much worse calibration may be."""
    max_latency_ratio: float = Field(default=2.0, ge=0)
    """Times the champion's latency that is allowed; 0: no limit."""
    max_size_ratio: float = Field(default=0.0, ge=0)
    """Times the champion's size that is allowed; 0: no limit."""
    parity: bool = False
    """Refuse a version whose conversion disagreed, although its original serves."""
    max_uses: int = Field(default=20, ge=1)
    """Looks at one hold-out before a new one is asked for."""
    block: int = Field(default=1, ge=1)
    """Held-out rows in a row that depend on each other; 1: independent rows."""


def _trigger(value: Any) -> Any:
    """``cron: 0 3 * * 1`` without quotes is a mapping for YAML."""
    if isinstance(value, dict) and len(value) == 1:
        return f"{next(iter(value))}: {next(iter(value.values()))}"
    return value


class Retrain(Part):
    """When a new version is trained, by what, and what it must show."""

    pipeline: str = Field(min_length=1)
    """Python file with `load_data` and `train`."""
    on: tuple[Annotated[str, BeforeValidator(_trigger, json_schema_input_type=str | dict[str, str | int])], ...] = ()
    """`drift`, `performance`, `data: 1000` (rows), `data: 7d` (age), `cron: 0 3 * * 1` (UTC); none: a person asks."""
    cooldown: Seconds = Field(default=86_400.0, ge=0)
    """Rest after a request, for all triggers but the schedule."""
    gate: RetrainGate = RetrainGate()
    """What a retrained model must show before it is rolled out."""
