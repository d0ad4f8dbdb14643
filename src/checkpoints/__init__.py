"""Hugging Face checkpoints on disk: opened lazily, read tensor by tensor, written whole or not at all."""

from src.checkpoints.layout import TensorInfo
from src.checkpoints.reader import Checkpoint, read_config
from src.checkpoints.side_files import copy_side_files
from src.checkpoints.writer import CheckpointWriter, write_checkpoint

__all__ = ["Checkpoint", "CheckpointWriter", "TensorInfo", "copy_side_files", "read_config", "write_checkpoint"]
