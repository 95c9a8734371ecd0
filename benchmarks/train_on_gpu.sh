#!/usr/bin/env bash
# Train the x4 and x8 models from scratch, side by side on one GPU, and export them.
#
#   benchmarks/train_on_gpu.sh PHOTOS OUTPUT
#
# Environment:
#   MINUTES    of training, 8 by default, in which the schedule comes to its end: with installing, decoding and
#              exporting about ten in all
#   WHEELS     a folder of wheels: nothing is downloaded, and PyTorch is the one that is installed
#   FEATURES   a folder with squeezenet1_1.safetensors and efficientnet_lite0.safetensors, where these cannot be
#              downloaded either
#   DEVICE     gpu by default; cpu to try the script
#   RECIPES    "x4 x8" by default
#
# Run again, it resumes. In OUTPUT, for each recipe: the run (its log is run.log), the model in half precision, and a
# checkpoint's folder that `vspsr train --resume` goes on from.
set -euo pipefail
photos=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")
cd "$(dirname "$0")/.."
minutes=${MINUTES:-8} device=${DEVICE:-gpu}
clock=$(printf '%02d:%02d:00' $((minutes / 60)) $((minutes % 60)))

if [ -n "${WHEELS:-}" ]; then
    python -m pip install --quiet --no-index --find-links "$WHEELS" --no-build-isolation -e ".[train]"
else
    python -m pip install --quiet -e ".[train]"
fi

features=()
if [ -n "${FEATURES:-}" ]; then
    features=(--set "features.squeezenet.weights=$FEATURES/squeezenet1_1.safetensors"
              --set "features.efficientnet.weights=$FEATURES/efficientnet_lite0.safetensors")
fi

train() { # recipe
    local folder=$output/$1
    mkdir -p "$folder"
    resume=()
    if [ -d "$folder/run/checkpoints" ]; then resume=(--resume); fi
    python -m vspsr.cli train --config "$1" --data "$photos" -o "$folder/run" --accelerator "$device" --devices 1 \
        --max-time "$clock" --set validation.images=0 "${features[@]}" "${resume[@]}" >"$folder/run.log" 2>&1
    python -m vspsr.cli export "$folder/run" -o "$folder/model" --half --overwrite >>"$folder/run.log" 2>&1
}

runs=()
for recipe in ${RECIPES:-x4 x8}; do
    train "$recipe" &
    runs+=($!)
done
failed=0
for run in "${runs[@]}"; do wait "$run" || failed=1; done
tail -n 3 "$output"/*/run.log
exit $failed
