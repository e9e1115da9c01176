#!/bin/bash
#SBATCH --job-name=cellbrook
#SBATCH --array=1-10
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=cellbrook_%A_%a.log
#
# Segment a folder of images with the jobs of a Slurm array. Each takes its share of the images:
#
#     job=$(sbatch --parsable recipes/slurm_segment.sh plate/ results/ --target nuclei)
#
# When all have ended, one more job, the same without an array, takes what is left over and writes summary.csv and
# all_objects.csv of the whole folder; what is done it only reads:
#
#     sbatch --array=1-1 --dependency=afterany:$job recipes/slurm_segment.sh plate/ results/ --target nuclei
#
# What comes after the two folders goes to `cellbrook segment` (see `cellbrook segment --help`); both times the same.
# A job that was stopped, by its time limit or to make room, goes on where it was: submit it again.
# The number of jobs is that of the array: sbatch --array=1-40 ... It begins with 1.
set -euo pipefail

images=${1:?"usage: sbatch slurm_segment.sh IMAGES RESULTS [options of cellbrook segment]"}
results=${2:?"usage: sbatch slurm_segment.sh IMAGES RESULTS [options of cellbrook segment]"}
shift 2

# Make the command known here, if it is not:
# source ~/cellbrook/bin/activate

share=()
if [ "${SLURM_ARRAY_TASK_MAX:-1}" -gt 1 ]; then
    share=(--share "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX")
fi
# What --precision auto is depends on the node's processor: one for all, changed here. An empty array is unset to old shells.
exec cellbrook segment "$images" --out "$results" --resume --precision fp32 \
    --threads "${SLURM_CPUS_PER_TASK:-1}" ${share[@]+"${share[@]}"} "$@"
