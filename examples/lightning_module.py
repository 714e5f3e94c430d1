"""DSSL in a Lightning module: `python examples/lightning_module.py` needs `pip install pytorch-lightning`."""

import pytorch_lightning
import torch
from plain_pytorch import drawn_images, head
from torch import nn
from torch.utils.data import DataLoader

from dssl_ops import directional_loss
from dssl_ops import transforms as T


class DSSL(pytorch_lightning.LightningModule):
    def __init__(self, seed=0):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                     head(32, 64, 64))  # fmt: skip
        self.predictor = head(64, 16, 64)
        views = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"), T.Normalize((0.5,), (0.25,)))
        self.collate = T.Collate(views, seed)

    def train_dataloader(self):
        self.collate.set_epoch(self.current_epoch)  # a resumed run starts its workers before the hook below
        return DataLoader(T.Indexed(drawn_images()), 16, shuffle=True, drop_last=True, collate_fn=self.collate)

    def on_train_epoch_start(self):
        self.collate.set_epoch(self.current_epoch)  # in shared memory: workers see it

    def training_step(self, batch, batch_idx):
        four_views, _ = batch
        z = [self.encoder(view) for view in four_views]
        loss = directional_loss([self.predictor(z_i) for z_i in z], z)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main(steps=4):
    torch.manual_seed(0)
    model = DSSL()
    trainer = pytorch_lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model)
    print(trainer.callback_metrics)
    return float(trainer.callback_metrics["loss"])


if __name__ == "__main__":
    main()
