#!/usr/bin/env bash
# Trains the SAEs that a study of transfer names, as its first lines say, and runs the study:
#   bash studies/transfer.sh transfer_demo OUT
# Stopped, the same command goes on.
set -euo pipefail
study=${1:?which: transfer, transfer_corrected, transfer_demo or transfer_demo_corrected}
out=${2:?the folder for the results}
file=$(dirname "$0")/$study.yaml

case $study in
  transfer | transfer_demo)
    settings=(--arch seed-plain --width 0.5x --l1 5e-4 --lr 1e-3 --schedule cosine --epochs 1000
      --positions last --text code-prompts:500) ;;
  transfer_corrected) settings=(--arch topk --k 64 --width 4x --text code-prompts:100000) ;;
  transfer_demo_corrected) settings=(--arch topk --k 32 --width 4x --text code-prompts:5000) ;;
  *) echo "There is no study of transfer $study." >&2; exit 2 ;;
esac

while read -r _ first second; do
  case $first in
    name:) model=$second ;;
    saes/*)
      site=$(basename "$first")
      bitlens train-sae "$model" --dtype bfloat16 --compute bfloat16 --site "${site%-*}" \
        "${settings[@]}" --tokens 0 --out "$first" ;;
  esac
done < <(grep -E '^ +- (name:|saes/)' "$file")
bitlens study "$file" --out "$out"
