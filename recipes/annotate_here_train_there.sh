#!/bin/bash
# Correct cells on one computer, train on another, such as a cluster or a machine with a GPU.
#
#     here     annotate_here_train_there.sh pack my.project to_train/      the corrected images and their labels
#     there    annotate_here_train_there.sh train to_train/ new_model/     options of `cellbrook train` may follow
#     here     annotate_here_train_there.sh use my.project new_model/      the project predicts with it from now on
#
# Copy to_train/ there and new_model/ back with any tool: they are plain folders. Training goes on where it was if it
# is stopped and the same command is given again, so it may run in jobs of limited time.
#
# Labels that somebody corrected elsewhere, with any program, come back into the project with
#
#     here     annotate_here_train_there.sh take my.project corrected/     label images, ROI zip, GeoJSON or _seg.npy
set -euo pipefail

usage() {
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

[ $# -ge 3 ] || usage
step=$1 from=$2 to=$3
shift 3

case $step in
    pack)
        cellbrook project export "$from" --save training --out "$to" "$@"
        cellbrook train "$to" --check # says now what would stop the training there
        ;;
    train)
        cellbrook train "$from" --out "$to" "$@"
        ;;
    use)
        if [ ! -f "$to/card.toml" ]; then
            echo "error: $to is no model in use: was it better than the one it started from? See $to/report.json" >&2
            exit 1
        fi
        name=$(basename "$to")
        if [ -e "$from/models/$name" ]; then
            echo "error: $from has a model $name already: rename $to" >&2
            exit 1
        fi
        mkdir -p "$from/models"
        cp -R "$to" "$from/models/.$name" # under a name that no one looks at until all is there
        mv "$from/models/.$name" "$from/models/$name"
        cellbrook project activate "$from" "$name" "$@"
        ;;
    take)
        cellbrook project import "$from" "$to" "$@"
        ;;
    *)
        usage
        ;;
esac
