"""The options of the commands, each written once.

typer reads a command's options from the parameters of its function, so a command has as many parameters as options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# --- all commands -------------------------------------------------------------------------------------------------------

Root = Annotated[Path | None, typer.Option(help="Folder that holds the data. Default: the run's configuration.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="File or folder of the data set, if it was moved; or tables of another graph. Default: the run's configuration."
    ),
]
NodeFeatures = Annotated[
    Path | None, typer.Option(help="The file data.node_features, if it was moved. Default: the run's configuration.")
]
AllowChangedData = Annotated[
    bool, typer.Option("--allow-changed-data", help="Go on although the data are not those that the run was trained on.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: the run's configuration.")]
Amp = Annotated[
    str | None, typer.Option(help="Precision of the forward pass: none, bf16 or fp16. Default: the run's configuration.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print all details as JSON.")]

# --- what to do with a trained run --------------------------------------------------------------------------------------

Run = Annotated[Path, typer.Argument(help="Folder of a run.")]
RunOrSweep = Annotated[Path, typer.Argument(help="Folder of a run, or of a sweep (train --seeds, --split).", metavar="RUN")]
Views = Annotated[int | None, typer.Option(help="Random partitions whose logits are averaged. Default: the run's configuration.")]
Parts = Annotated[int | None, typer.Option(help="Parts of each partition; 1: the whole graph. Default: the run's configuration.")]

# --- what to train ------------------------------------------------------------------------------------------------------

Dataset = Annotated[
    str | None,
    typer.Argument(help="Name (revgnn datasets), or path of a file or folder (revgnn datasets --formats).", show_default=False),
]
Preset = Annotated[
    str | None, typer.Option(help="Name of a preset (revgnn presets). Default: the one named like the data set, else auto.")
]
PresetOrAuto = Annotated[str, typer.Option(help="Name of a preset (revgnn presets); auto looks at the graph.")]
ConfigFile = Annotated[Path | None, typer.Option(help="Configuration in YAML, such as the config.yaml of another run.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as model.depth=28. Repeatable.")
]
Download = Annotated[bool, typer.Option("--download", help="Download a published data set that is missing.")]
Archive = Annotated[
    Path | None,
    typer.Option(help="Archive of a published data set that you have; unpacked below --root if the set is not there."),
]
Split = Annotated[
    str | None, typer.Option(help="Number or name of a split; several numbers, such as 0,1,2, or all: one run per split.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, dropout and partitions.")]
Seeds = Annotated[str | None, typer.Option(help="Several seeds, such as 0,1,2: one run per seed.")]
Teacher = Annotated[
    Path | None, typer.Option(help="Learn from this finished run, or from the run of this sweep with the same split and seed.")
]
Init = Annotated[
    Path | None, typer.Option(help="Start from the best weights of this run. The head is made anew if the outputs differ.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training nodes.")]

# --- what a run needs -----------------------------------------------------------------------------------------------------

Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory that may be used, such as 11GB. Default: what is free on the device.")
]
Hours = Annotated[float | None, typer.Option(min=0.0, help="Hours that the whole run may take.")]
PlannedRanks = Annotated[
    int | None, typer.Option("--ranks", min=1, metavar="K", help="Also plan so many processes, for each way of spreading a run.")
]
Link = Annotated[
    str | None, typer.Option(metavar="SPEED", help="What each process can send a second, such as 300GB/s. Default: no seconds.")
]
Latency = Annotated[str | None, typer.Option(metavar="TIME", help="Of a message between processes, such as 5us.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Time no steps: plan the memory alone.")]
Fit = Annotated[
    bool, typer.Option("--fit", help="Change gradient strategy, parts or depth so that the run fits into --memory, and say what.")
]

# --- tables -------------------------------------------------------------------------------------------------------------

Nodes = Annotated[Path | None, typer.Option(help="Table of nodes (.csv, .tsv, .jsonl, .parquet), instead of DATASET.")]
Edges = Annotated[
    Path | None, typer.Option(help="Edges: a table or a graph file. Default: the table named edges beside the nodes.")
]
GraphFile = Annotated[
    Path | None, typer.Option(help="File that says how columns are understood. Default: graph.yaml beside the nodes.")
]
Label = Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Column of labels. Repeatable: several labels a node.")]
TaskOf = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="What labels are: multiclass, binary, multilabel or regression; edges: of edges; links: predict edges.",
    ),
]
Metric = Annotated[
    str | None, typer.Option(help="The score: rocauc, accuracy, f1, f1_micro, f1_macro, ap, mae, rmse or r2. Default: by the task.")
]
KindOf = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="COLUMN=KIND",
        help="How a column is used: id, numeric, categorical, boolean, date, label, split or ignored; edges.COLUMN for edges. "
        "Repeatable.",
    ),
]
SplitRatios = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="Shares of training, validation and test nodes, such as 0.6,0.2,0.2.")
]
Stratify = Annotated[bool | None, typer.Option("--stratify", help="Cut each class by the ratios.")]
SplitTime = Annotated[str | None, typer.Option(metavar="COLUMN", help="Order nodes by this column; the earliest are for training.")]
Directed = Annotated[
    bool | None, typer.Option("--directed/--undirected", help="Use edges in one direction, or in both (the default for tables).")
]
Pairs = Annotated[
    Path | None, typer.Option(help="Table of pairs of nodes to predict, for links and labels of edges. Default: those of the run.")
]
OnBadRows = Annotated[
    str | None, typer.Option(metavar="refuse|drop", help="Stop at a row that cannot be used (default), or leave such rows out.")
]

# --- graph files --------------------------------------------------------------------------------------------------------

PygClass = Annotated[
    str | None,
    typer.Option("--pyg", metavar="CLASS[:NAME]", help="A data set class of PyTorch Geometric, such as Planetoid:PubMed."),
]
LabelFile = Annotated[
    Path | None, typer.Option(help="Labels of a file that holds edges only: .npy, or text with a label a line, one a node.")
]
NewNodeFeatures = Annotated[
    Path | None,
    typer.Option(
        "--node-features", help="An .npy file (N, F) with node features that replace the data set's own, row i for node i."
    ),
]

# --- how to train -------------------------------------------------------------------------------------------------------

Out = Annotated[
    Path | None, typer.Option(help="Folder of the run. Default: a new folder, runs/DATASET-PRESET or runs/DATASET-PRESET-run2.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
CompareMemory = Annotated[
    bool | None, typer.Option("--compare-memory/--no-compare-memory", help="Also measure one step with every layer stored.")
]
Parallel = Annotated[
    str,
    typer.Option(
        metavar="parts|graph|layers|weights",
        help="What processes of torchrun share: parts of each step; one graph; layers, which parts pass through one after the "
        "other; or parts and also the weights.",
    ),
]
Cut = Annotated[
    str, typer.Option(metavar="contiguous|random|metis", help="With --parallel graph: which nodes a process has, see the docs.")
]
Pieces = Annotated[
    int, typer.Option("--pieces", min=1, metavar="N", help="With --parallel layers: pieces of the stack in each process.")
]
RankTimeout = Annotated[
    float, typer.Option("--rank-timeout", min=1.0, metavar="SECONDS", help="How long processes of torchrun wait for one another.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]
Log = Annotated[
    list[str] | None,
    typer.Option(metavar="tensorboard|wandb", help="Log to TensorBoard or Weights & Biases, which are extras. Repeatable."),
]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on stdout; progress goes to stderr.")]
