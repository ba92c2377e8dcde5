"""Predict with the trained folds of a run: out-of-fold scores, and a checked CSV in submissions/.

usage: python -m src.predict [--tta | --tta=auto] [config=NAME | competition=ID] [run=NAME | runs=NAME,NAME...]
                             [fold=0..4] [seed=0,1,2] [key=value ...]

  --tta                       average the views of predict.views; without it each image is seen once, as it is
  --tta=auto                  choose the views: those whose gain is real on the held-out rows, judged nested
  predict.budget=0.01         the most seconds for one image in all views, through one model, that --tta=auto may take
  runs=a,b,c                  join these runs of one competition: a plain mean, or what is really better than it
  predict.views=[identity,hflip]   which views; the word square stands for its eight, flips, shifts and crops for theirs
  --export                    also write runs/<competition>/<run>/export/<run>.safetensors, one file that predicts
                              without the run: python -m src.export.predict --help. --export=fp16: half the size
  predict.size=96             see the images at another size than in training
  predict.engine=openvino     what runs the networks on a CPU: torch, openvino, onnxruntime, or auto, the fastest that
                              answers as torch does in fp32, where there is work for minutes. predict.precision=fp32,
                              bf16 or int8 names how; predict.tolerance=0.05: how far a probability may move, measured
  fold=all                    the one model that was trained on every row
Without fold= every trained fold takes part. Views already computed are not computed again.
"""

from src.config.request import parse
from src.core.errors import UsageError, exit_code
from src.core.process import imports, run


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    request = parse(argv, flags=("--tta", "--export"), several_runs=True)
    if request.flags.get("--tta") not in (None, "", "auto"):
        raise UsageError(
            f"--tta={request.flags['--tta']}: --tta takes no word but auto; predict.views=[...] names the views"
        )
    if request.flags.get("--export", "") not in ("", "fp16"):
        raise UsageError(f"--export={request.flags['--export']}: write --export, or --export=fp16 for half the size")
    if "--export" in request.flags and request.runs:
        raise UsageError("--export writes one run at a time: give run=NAME in place of runs=")
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.inference.pipeline import predict

    file = predict(request)
    if "--export" in request.flags:
        from src.export.export import export

        export(request, file, stored=request.flags["--export"] or "exact")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
