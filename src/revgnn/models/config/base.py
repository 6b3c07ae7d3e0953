"""`ModelConfig`: what the configurations of all families have in common, and how they are read from flat settings and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from revgnn.models.config.convolution import AnyConvConfig, GATConfig, GENConfig, convolution_settings, read_convolution
from revgnn.models.config.tagged import choose

Family = Literal["residual", "reversible", "equilibrium", "revgat"]
Norm = Literal["layer", "batch", "none"]

_FIRST = ("family", "tied", "unit", "depth", "channels", "groups")
"""Settings that are written first, since they say which network it is."""


class ModelConfig(BaseModel):
    """The configuration of a network, of any family. Each family has a subclass with the settings it has.

    Users write settings flat: those of the convolution beside those of the network. So
    `ModelConfig(family="residual", conv="sage", aggregation="mean")` returns a `ResidualConfig` whose `convolution` is a
    `SAGEConfig`. Without `family` it returns a `ReversibleConfig`; its defaults are RevGNN of 80 channels on ogbn-proteins
    (Li et al. 2021, arXiv:2106.07476).

    A setting that only other families or other convolutions have is ignored. So `family` or `conv` can be changed alone, and files
    of earlier releases, which list the settings of all, can be read. Exceptions are `tied`, `solver`, `stochastic_depth` and the
    settings of attention: if one of these asks for what the network does not have, it is an error.

    The numbers of inputs, outputs, edge features and species depend on the data set; `build_model` takes them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    FAMILIES: ClassVar[dict[str, type[ModelConfig]]] = {}
    """The class of each family."""

    family: Family = Field(
        default="reversible",
        description="residual: h + f(h), pre-activation; reversible: grouped additive coupling; equilibrium: the solution of "
        "h = f(h); revgat: attention with reversible inner layers.",
    )
    depth: int = Field(
        default=112,
        ge=1,
        description="Layers. revgat counts its first and last too; an equilibrium has so many if it is unrolled, see "
        "`solver.pretraining`.",
    )
    channels: int = Field(default=80, ge=1, description="Width of the node state, over all groups and heads.")
    convolution: AnyConvConfig = Field(default=GENConfig(), description="The graph convolution in every block.")
    norm: Norm = Field(
        default="layer",
        description="Normalisation before the activation of each block, in the MLP and before the head. Default: layer; revgat: "
        "batch.",
    )
    readout: Literal["sum", "mean", "max", "attention"] = Field(
        default="mean", description="For data sets of graphs: how the states of a graph's nodes become one."
    )
    decoder: Literal["mlp", "dot"] = Field(
        default="mlp", description="For data sets of pairs: a perceptron of the product of two states, or their scalar product."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout rate of the node state.")
    input_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout rate of the input features.")

    if TYPE_CHECKING:  # defined by each family: `groups` and `tied` are settings of some, and properties of the others

        @property
        def groups(self) -> int: ...
        @property
        def tied(self) -> bool: ...
        @property
        def effective_gradient(self) -> str: ...
        def __init__(self, **settings: Any) -> None: ...

    # --- reading and writing flat settings --------------------------------------------------------------------------

    def __new__(cls, **settings: Any) -> ModelConfig:
        return object.__new__(cls._class_of(settings) if cls is ModelConfig else cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "family" in cls.__annotations__:
            ModelConfig.FAMILIES[cls.model_fields["family"].default] = cls

    @model_validator(mode="wrap")
    @classmethod
    def _read_flat(cls, settings: Any, validate: ModelWrapValidatorHandler[ModelConfig]) -> ModelConfig:
        if not isinstance(settings, Mapping):
            return validate(settings)
        if cls is ModelConfig:
            return cls._class_of(settings).model_validate(settings)
        return validate(cls._own_settings(settings))

    @classmethod
    def _class_of(cls, settings: Mapping[str, Any]) -> type[ModelConfig]:
        return choose("family", settings.get("family", cls.model_fields["family"].default), cls.FAMILIES)

    @classmethod
    def _own_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of this family, those of its convolution under `convolution`, and those that no family has."""
        own = dict(settings)
        if "convolution" not in own:
            own["convolution"] = {name: own.pop(name) for name in convolution_settings() if name in own}
        foreign = {name: own.pop(name) for name in all_settings() if name in own and name not in cls.model_fields}
        cls._check_foreign(foreign)
        return own

    @classmethod
    def _check_foreign(cls, settings: Mapping[str, Any]) -> None:
        """Raise `ValueError` if one of `settings`, which only other families have, asks for a network of another family."""
        family = cls.model_fields["family"].default
        if settings.get("solver") is not None:
            raise ValueError(f"a {family} model is not solved for: leave solver out, or choose family=equilibrium.")

    @field_validator("convolution", mode="before")
    @classmethod
    def _read_convolution(cls, convolution: Any) -> Any:
        return read_convolution(convolution) if isinstance(convolution, Mapping) else convolution

    @model_serializer(mode="wrap")
    def _write_flat(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings = serialize(self)
        flat: dict[str, Any] = {}
        for name in sorted(settings, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
            flat |= settings[name] if name == "convolution" else {name: settings[name]}
        return flat

    def flat(self) -> dict[str, Any]:
        """Return all settings of all families and convolutions: those of this network, and the defaults of the others.

        Networks of different families are compared in this form.
        """
        defaults = {name: field.default for name, field in all_settings().items()}
        return {**defaults, "groups": self.groups, "tied": self.tied, **self.model_dump(mode="json")}

    # --- checks -----------------------------------------------------------------------------------------------------

    @model_validator(mode="after")
    def _check_heads(self) -> ModelConfig:
        if isinstance(self.convolution, GATConfig) and self.block_channels % self.convolution.heads:
            raise ValueError(
                f"heads must divide the channels of a group ({self.block_channels}), got heads={self.convolution.heads}."
            )
        return self

    def capture_obstacle(self) -> str | None:
        """Return why a training step of this network cannot be captured as a CUDA graph, and how to change that; None if it can."""
        return "edge_dropout draws its seeds on the host; set model.edge_dropout=0" if self.edge_dropout else None

    # --- derived values ---------------------------------------------------------------------------------------------

    @property
    def conv(self) -> str:
        """The name of the convolution."""
        return self.convolution.conv

    @property
    def edge_dropout(self) -> float:
        """Share of the edges that each layer leaves out in training."""
        return self.convolution.edge_dropout if isinstance(self.convolution, GATConfig) else 0.0

    @property
    def block_channels(self) -> int:
        """Channels of one group, the input and output of a block."""
        return self.channels // self.groups


def all_settings() -> dict[str, FieldInfo]:
    """Return every setting of every family and convolution, by the name a user writes."""
    settings: dict[str, FieldInfo] = {}
    for family in (ModelConfig, *ModelConfig.FAMILIES.values()):
        for name, field in family.model_fields.items():
            fields = convolution_settings() if name == "convolution" else {name: field}
            settings |= {name: field for name, field in fields.items() if name not in settings}
    return settings
