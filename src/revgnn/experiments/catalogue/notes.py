"""Where presets differ from the authors' code (github.com/lightaime/deep_gcns_torch), and what the paper leaves open.

A note names the setting that follows the other side, where there is one. `revgnn presets NAME` prints the notes of a preset, and
`revgnn paper --markdown` those of all.
"""

from __future__ import annotations

MIXED_PRECISION = (
    "The authors' code evaluates in mixed precision (`evaluation.amp=fp16`); here evaluation is in float32. The difference is in "
    "the rounding of the logits."
)

COPIED_GROUPS = (
    "In the authors' code the groups of a layer start as copies of one another (`model.identical_groups=true`); here each group "
    "starts with weights of its own."
)

MASK_PER_LAYER = (
    "The authors' residual code draws a dropout mask for each layer (`model.shared_dropout=false`); here all layers of a step "
    "share one, as in the reversible networks. The paper does not say which its residual networks do."
)

STORED_LAYERS = (
    "The paper's residual networks store every layer (`model.gradient=backprop`); here some states are stored and the layers "
    "between them are computed again, which gives the same gradient."
)

CHECKPOINTS = (
    "The paper stores a state every sqrt(depth) layers (`model.checkpoint_every=11`); here one every 4 layers, where the memory "
    "is least. Values and gradients are the same."
)

TIED_LAYERS = (
    "The weight-tied code was not published. A first layer of its own and one layer that is repeated (`unit: single`) has the "
    "published number of parameters at any depth, and the paper has weight-tied networks of odd depth. A unit of two layers "
    "(`model.unit=pair`) has it too, at even depths only."
)

SOLVER = (
    "How the paper solves for an equilibrium is not published; `model.solver` has our defaults, without weight-tied training "
    "before it."
)

ITERATIONS = (
    "The number of iterations is the paper's, and limits training and evaluation alike. The solver and its tolerance are ours: a "
    "solve may stop earlier. The adjoint solve has our default of 30 steps."
)

STATISTICS = (
    "Batch norm moves its running statistics twice a step here: in the pass that predicts labels, and in the training pass. In the "
    "reversible layers of the authors' code it moves them four times, since their backward pass evaluates a layer twice more in "
    "training mode. No setting does that."
)

BEST_EPOCH = (
    "The authors' code chooses the best epoch, and the predictions that a student learns from, by the validation loss; here "
    "the validation accuracy chooses, as in all runs."
)

STUDENT = (
    "As in the authors' code, the divergence from the teacher is averaged over nodes and classes. With "
    "`distillation.average=nodes` the teacher has 40 times the weight."
)

NO_CODE = "The code for this data set was not published; the protocol is what the paper says about training."
