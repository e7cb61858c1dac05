#!/usr/bin/env bash
# One training under Slurm, on a Ray cluster that lives as long as the job.
#
#     sbatch cluster/slurm.sh /shared/dataset first
#
# Arguments: dataset folder, run name, further settings of jobs/train.py. A job that ran out of time or was
# requeued goes on from its last checkpoint: submit it again with the same run name. Hardware: 2 nodes with 4 GPUs each. Start: under a minute. The
# environment (.venv) and the folders lie on storage that all nodes see; submit from the repository's top.
#SBATCH --job-name=bifair
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=128G
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=bifair-%j.log
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: sbatch cluster/slurm.sh DATASET RUN_NAME [--section.name value ...]" >&2
    exit 2
fi
dataset=$1 run_name=$2
shift 2
shared=${BIFAIR_SHARED:-$PWD}
gpus=${SLURM_GPUS_ON_NODE:-4}

export PATH=$PWD/.venv/bin:$PATH
# This script runs on the first node, which becomes the head. With several networks: HEAD_IP=... sbatch cluster/slurm.sh
read -r first_address _ <<<"$(hostname -I)"
head=${HEAD_IP:-$first_address}:$((20000 + SLURM_JOB_ID % 10000))

# Other users of the cluster can reach the ports of this node, so Ray asks everybody for the token in the home folder.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
ray get-auth-token --generate >/dev/null
# Nodes start at different times; Ray's own patience is 30 seconds.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# `symmetric-run` starts Ray on every node, runs the command on the first and stops every Ray of this user on them at
# the end: hence --exclusive. Its exit code is that of the training.
srun --cpus-per-task "$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "$gpus" -- \
    python jobs/train.py --cluster.address auto --data.dataset "$dataset" --data.cache "$shared/cache" \
    --training.output "$shared/runs" --training.run_name "$run_name" \
    --cluster.workers $((SLURM_JOB_NUM_NODES * gpus)) --cluster.gpus_per_worker 1 "$@"
