"""`training` of params.yaml: the families, their settings and search ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.params.compression import NONE, Compression
from pipelines.params.search import Range, Search, drawing_order, require_drawable
from pipelines.params.section import Count, Natural, Positive, Section

PositiveWeight = Positive | Literal["balanced"]

OF_NETWORKS: Search = {
    "learning_rate": Range(low=0.0003, high=0.01, log=True),
    "dropout": Range(low=0, high=0.4),
    "weight_decay": Range(low=0.000001, high=0.01, log=True),
}


class LogisticRegression(Section):
    """`positive_weight` is the weight of label 1, that of label 0 being 1; `balanced` gives both the same sum."""

    l2_regularization: Positive = 1.0
    max_iter: Count = 200
    positive_weight: PositiveWeight = 1.0
    search: Search = Field({"l2_regularization": Range(low=0.01, high=1000, log=True)})


class HistGradientBoosting(Section):
    """`max_features` is the share of inputs that each split considers; `positive_weight` as above."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.08
    max_iter: Count = 150
    max_leaf_nodes: Annotated[int, Field(ge=2)] = 31
    min_samples_leaf: Count = 20
    l2_regularization: Annotated[float, Field(ge=0)] = 1.0
    max_features: Annotated[float, Field(gt=0, le=1)] = 1.0
    positive_weight: PositiveWeight = 1.0
    search: Search = Field(
        {
            "learning_rate": Range(low=0.02, high=0.2, log=True),
            "max_leaf_nodes": Range(low=15, high=127, log=True, integer=True),
            "min_samples_leaf": Range(low=5, high=1000, log=True, integer=True),
            "l2_regularization": Range(low=0.01, high=100, log=True),
        }
    )


class Network(Section):
    """The settings of every network of `pipelines.training.torch_loop`.

    Attributes:
        epochs: most epochs; the learning rate falls to zero along a cosine over all of them.
        warmup_share: share of all steps over which the learning rate rises to `learning_rate`.
        patience: epochs without a lower loss on the validation window after which the fit stops.
        clip_norm: largest norm of a step's gradient.
        positive_weight: weight of label 1 in the loss, that of label 0 being 1; `balanced` gives both the same sum.
        focal_gamma: exponent of the focal loss (Lin et al. 2017); 0 is the log loss.
    """

    embedding_dim: Count = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    learning_rate: Positive = 0.003
    weight_decay: Annotated[float, Field(ge=0)] = 0.0001
    batch_size: Count = 512
    epochs: Count = 8
    patience: Count = 2
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    clip_norm: Positive = 1.0
    positive_weight: PositiveWeight = 1.0
    focal_gamma: Annotated[float, Field(ge=0)] = 0.0
    search: Search = Field(OF_NETWORKS)


FamilySettings = LogisticRegression | HistGradientBoosting | Network


class Latency(Section):
    """The second objective: 95th percentile of the time of one-row calls of the ONNX graph."""

    budget_ms: Positive
    calls: Count = 300


class Tuning(Section):
    """How settings of further trials are drawn and evaluated; `training.trials` is their number.

    Attributes:
        minutes: wall time after which no trial starts; the number of trials then depends on the machine.
        pruning: whether trials that fall behind are stopped early (Hyperband).
        folds: if more than 1, trials are evaluated by rolling-origin cross-validation; else on the validation window.
        fold_days: days on which each fold is evaluated.
        latency: if set, the trial with the least loss within the latency budget is chosen.
    """

    minutes: Positive | None = None
    pruning: bool = True
    folds: Count = 1
    fold_days: Count = 14
    latency: Latency | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.latency and self.pruning:
            raise ValueError("two objectives cannot be pruned; set pruning to false, or leave out latency")
        return self


class Mlp(Network):
    learning_rate: Positive = 0.002
    hidden: tuple[Count, ...] = (128, 64)


class DcnV2(Network):
    """`rank` 0 keeps the cross layers' matrices at full rank; `structure` places the deep tower beside or after."""

    epochs: Count = 10
    patience: Count = 3
    cross_layers: Count = 2
    rank: Natural = 16
    structure: Literal["parallel", "stacked"] = "parallel"
    hidden: tuple[Count, ...] = (64, 32)
    search: Search = Field(
        {
            **OF_NETWORKS,
            "cross_layers": Range(low=1, high=4, integer=True),
            "rank": Range(low=8, high=64, log=True, integer=True),
        }
    )


class FtTransformer(Network):
    """`embedding_dim` is the width of every token, `feedforward` the hidden width of a block's feed-forward network.

    Every input is a token, so that a row costs some 20 times one of `dcn_v2`.
    """

    embedding_dim: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    epochs: Count = 4
    layers: Count = 2
    heads: Count = 2
    feedforward: Count = 16
    search: Search = Field(
        {**OF_NETWORKS, "dropout": Range(low=0, high=0.3), "layers": Range(low=1, high=3, integer=True)}
    )

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(f"embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}")
        return self


class Mmoe(Network):
    """`auxiliary_weight` is the weight of the second task's loss, that of the label's being 1.

    It needs a use case that declares an auxiliary label.
    """

    experts: Annotated[int, Field(ge=2)] = 4
    expert_hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 32)
    tower_hidden: tuple[Count, ...] = (16,)
    auxiliary_weight: Positive = 0.3
    search: Search = Field(
        {
            **OF_NETWORKS,
            "experts": Range(low=2, high=8, integer=True),
            "auxiliary_weight": Range(low=0.03, high=1, log=True),
        }
    )


class Training(Section):
    """`refit`: whether the chosen settings are fitted again on training and validation rows together."""

    families: Annotated[tuple[str, ...], Field(min_length=1)] = ("hist_gradient_boosting",)
    trials: Count = 1
    tuning: Tuning = Tuning()
    calibration: Literal["none", "platt", "isotonic", "auto"] = "auto"
    refit: bool = True
    compression: Mapping[str, Compression] = Field(default_factory=dict)
    seed: Natural = 1
    logistic_regression: LogisticRegression = LogisticRegression()
    hist_gradient_boosting: HistGradientBoosting = HistGradientBoosting()
    mlp: Mlp = Mlp()
    dcn_v2: DcnV2 = DcnV2()
    ft_transformer: FtTransformer = FtTransformer()
    mmoe: Mmoe = Mmoe()

    @model_validator(mode="after")
    def _require_known(self) -> Self:
        for family in self.families:
            if self.families.count(self.check_family(family)) > 1:
                raise ValueError(f"families names {family} more than once; a run has one candidate of a family")
        for family in FAMILIES:
            settings = getattr(self, family)
            unknown = set(settings.search) - (set(type(settings).model_fields) - {"search"})
            if unknown:
                raise ValueError(f"{family}.search names {sorted(unknown)}, which {family} does not have")
            try:
                drawing_order(settings.search)
                require_drawable(settings, settings.search)
            except ValueError as error:
                raise ValueError(f"{family}.{error}") from None
        return self

    @model_validator(mode="after")
    def _compressible(self) -> Self:
        for family, compression in self.compression.items():
            if not isinstance(getattr(self, self.check_family(family)), Network):
                raise ValueError(f"compression.{family}: only networks can be compressed; leave it out")
            if compression.distil is None:
                continue
            teacher, place = compression.distil.teacher, f"compression.{family}.distil"
            if "/" not in teacher:
                self.check_family(teacher)
            if teacher == family or self.compression_of(teacher).distil:
                raise ValueError(
                    f"{place}: {teacher} would need a teacher itself; name another teacher, or a model's folder"
                )
            if self.tuning.folds > 1:
                raise ValueError(f"{place}: the teacher has seen the days that folds judge by; set tuning.folds to 1")
        return self

    def compression_of(self, family: str) -> Compression:
        return self.compression.get(family, NONE)

    def settings_of(self, family: str) -> FamilySettings:
        settings: FamilySettings = getattr(self, self.check_family(family))
        return settings

    @staticmethod
    def check_family(family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"family {family!r} is unknown; choose from {', '.join(FAMILIES)}")
        return family


FAMILIES = (  # the simplest first: the demo begins with it
    *("logistic_regression", "hist_gradient_boosting"),
    *("mlp", "dcn_v2", "ft_transformer", "mmoe"),
)
READS_MISSING = {"hist_gradient_boosting"}  # families that accept NaN
