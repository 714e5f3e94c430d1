"""Several processes against one: the same views, losses and weights."""

import copy
import dataclasses
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from checks import needs_native
from dssl_trainer import log
from dssl_trainer.data import load
from dssl_trainer.data.loader import Loader
from dssl_trainer.encoders import ENCODERS
from dssl_trainer.errors import TrainerError
from dssl_trainer.evaluation.collapse import with_data_statistics
from dssl_trainer.learner import Learner
from dssl_trainer.train import alone, train
from test_distributed_losses import run_ranks
from trainer_setup import METHODS, TINY, environment, held_by_another, tiny, tiny_command

pytestmark = needs_native


def settings(method):
    """Batch norm in two groups: one per process of two, two in a single process."""
    return tiny("unused", method, bn_splits=2, symmetric=True, variant="soft", epochs=4)


def three_steps(method, ranks):
    """Ids, views and losses of three steps in float64, and the weights after them."""
    torch.set_default_dtype(torch.float64)
    config = settings(method)
    loader, learner = Loader(load(config).train, config, ranks), Learner(config, 3, ranks)
    seen = []
    for step in range(3):
        (batch,) = loader.get(step, 3)
        views = [view.double() for view in batch.views]
        loss = learner.step([batch._replace(views=views)], step).loss
        seen.append((batch.ids, torch.stack(views), loss))
    torch.set_default_dtype(torch.float32)
    return seen, learner.method.state_dict()


def refusal(rank, folder):
    """What a rank hears where another run trains in the folder."""
    run = SimpleNamespace(first=rank == 0, folder=Path(folder), config=tiny("unused"), ranks=dist.group.WORLD)
    try:
        with alone(run):
            return "none"
    except TrainerError as error:
        return str(error)


def a_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=timedelta(seconds=180)
    )
    found = {method: three_steps(method, dist.group.WORLD) for method in METHODS}
    found |= {name: refusal(rank, f"{folder}/{name}") for name in ("taken", "free")}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with held_by_another(folder / "taken"):
        assert run_ranks(a_rank, 2, str(folder)) == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_equal_one_process(method, two_ranks):
    steps, weights = three_steps(method, None)
    parts = [rank[method] for rank in two_ranks]
    for step, (ids, views, loss) in enumerate(steps):
        shards = [seen[step] for seen, _ in parts]
        assert torch.equal(torch.cat([shard[0] for shard in shards]), ids)
        assert torch.equal(torch.cat([shard[1] for shard in shards], dim=1), views)
        assert shards[0][2] == shards[1][2]
        assert shards[0][2] == pytest.approx(loss, rel=1e-10, abs=1e-10)  # rounding of 1e-16 through 20 layers, 3 steps
    for name, tensor in weights.items():
        mine, theirs = (state[name] for _, state in parts)
        if "running" in name or "num_batches" in name:  # each process has its own
            continue
        assert torch.equal(mine, theirs), name
        assert (mine - tensor).double().norm() <= 1e-8 * max(1, tensor.double().norm()), name


def test_every_rank_hears_that_another_run_has_the_folder(two_ranks):
    for rank in two_ranks:
        assert rank["taken"].startswith("out: another process trains in ") and rank["free"] == "none"


def test_views_do_not_depend_on_the_number_of_parts():
    config = dataclasses.replace(TINY, accumulate=4)
    whole, parts = (Loader(load(c).train, c).get(4, 6) for c in (TINY, config))
    assert [len(batch.ids) for batch in parts] == [4] * 4
    assert torch.equal(torch.cat([torch.stack(list(b.views)) for b in parts], 1), torch.stack(list(whole[0].views)))


def test_accumulated_gradients_are_those_of_groups():
    """Four parts of 4 images = one pass with batch norm in four groups, for a loss that is a mean over images."""
    losses, states = [], []
    for changes in ({"accumulate": 4}, {"bn_splits": 4}):
        config = dataclasses.replace(TINY, **changes)
        learner = Learner(config, 3)
        losses.append(learner.step(Loader(load(config).train, config).get(0, 1), 0).loss)
        states.append([p.detach() for p in learner.method.parameters()])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for a, b in zip(*states, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_torchrun_trains_and_one_process_goes_on(tmp_path):
    """The command itself: both processes end, the first alone writes, and its checkpoint is anyone's."""
    port = str(20000 + os.getpid() % 9999)
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port]
    command = [sys.executable, "-m", *torchrun, "-m", *tiny_command(tmp_path, "--max-steps", "3")[2:]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=400)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr and done.stderr.count("the line to beat") == 1
    assert [row["step"] for row in log.read(tmp_path / "log.csv")] == [0, 1, 2, 3]
    train(tiny(tmp_path))
    assert [row["step"] for row in log.read(tmp_path / "log.csv")] == list(range(7))


def test_untrained_reference_of_a_synchronised_encoder_needs_no_other_process():
    """On CUDA the first process alone measures it: SyncBN in training mode would wait for the others."""
    torch.manual_seed(0)
    plain = ENCODERS["resnet10_eighth"]()
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    batches = [torch.randn(8, 3, 32, 32) for _ in range(2)]
    expected, found = (with_data_statistics(encoder, batches).state_dict() for encoder in (plain, synchronised))
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
