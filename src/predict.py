"""Predict with the trained folds of a run: out-of-fold scores, and a checked CSV in submissions/.

Without fold= every trained fold takes part. Views already computed are not computed again.
"""

import time

from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.console import note
from src.core.errors import UsageError
from src.core.process import began, imports, run

NOTHING = "no-test-images"
COMMAND = Command("src.predict", __doc__)
add_run(COMMAND, "which folds' models take part; all: the one model that was trained on every row")
COMMAND.key("runs=A,B,C", "join these runs of one competition: a plain mean, or what is significantly better")
COMMAND.key("predict.views=[identity,hflip]", "which views; square: its eight; flips, shifts and crops: theirs")
COMMAND.key("predict.budget=0.01", "the most seconds for one image in all views that --tta=auto may take")
COMMAND.key("predict.size=96", "see the images at another size than in training")
COMMAND.key(
    "predict.engine=openvino",
    "what runs the networks on a CPU: torch, openvino, onnxruntime, or auto, the fastest that answers as torch does "
    "in fp32, where there is work for minutes. predict.precision=fp32, bf16 or int8 names how; predict.tolerance=0.05: "
    "how far a probability may move, measured",
)
COMMAND.flag(
    "--tta",
    "average the views of predict.views; without it each image is seen once, as it is. --tta=auto chooses the views: "
    "those whose gain is real on the held-out rows, judged nested",
    value="auto",
)
COMMAND.flag(
    "--export",
    "also write runs/<competition>/<run>/export/<run>.safetensors, one file that predicts without the run: "
    "python -m src.export.predict --help. --export=fp16: half the size",
    value="fp16",
)
COMMAND.flag(
    "--features",
    "predict nothing: write what the configuration's network, as it begins, sees in every image before its last layer, "
    "in predict.views, as npz files of ids and features into the competition's cache folder. Without config= as "
    "config=probe has it",
)


def work(line: CommandLine) -> Result:
    keys = line.keys
    if "--features" in line.flags and not {"config", "run", "runs"} & set(keys):
        keys = {"config": "probe", **keys}  # features are made as the probe's, and not as a network from scratch sees
    request = request_of(keys, line.flags, several_runs=True)
    if request.flags.get("--tta") not in (None, "", "auto"):
        raise UsageError(
            f"--tta={request.flags['--tta']}: --tta takes no word but auto; predict.views=[...] names the views",
            code="flag-value",
        )
    if request.flags.get("--export", "") not in ("", "fp16"):
        raise UsageError(
            f"--export={request.flags['--export']}: write --export, or --export=fp16 for half the size",
            code="flag-value",
        )
    if "--export" in request.flags and request.runs:
        raise UsageError("--export writes one run at a time: give run=NAME in place of runs=", code="one-run-only")
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    if "--features" in request.flags:
        with imports():
            from src.inference.network_features import frozen_features

        folder = frozen_features(request).folder
        return {"competition": request.competition, "features": folder, "files": sorted(folder.glob("*.npz"))}
    with imports():
        from src.competition.plan_record import PREDICTION, note_took
        from src.core.paths import Run
        from src.inference.pipeline import predict
        from src.inference.planned_answer import best_answer
        from src.inference.provenance import facts_of

    begun = began()
    try:
        file = predict(request)
    except UsageError as error:
        if error.code != NOTHING or "--export" in request.flags:
            raise
        note(NOTHING, str(error))  # ./run.sh goes on to the page of a labelled collection
        return {"competition": request.competition, "run": request.run, "submission": None}
    result = facts_of(file, request.competition)
    result |= {"competition": request.competition, "run": request.run, "submission": file}
    if not request.runs:
        note_took(Run(request.competition, request.run), PREDICTION, time.monotonic() - begun)
        result |= best_answer(request, file)
    if "--export" in request.flags:
        from src.export.export import export

        result["export"] = export(request, file, stored=request.flags["--export"] or "exact")
    return result


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
