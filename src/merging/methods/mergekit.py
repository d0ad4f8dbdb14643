"""mergekit as a second engine: any method of the installed version, tensor by tensor.

Arithmetic is mergekit's, in the stored dtype, as in `mergekit-yaml`; reading and writing are ours. Its random methods
draw from torch's global generator, which is reseeded for every tensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import torch

from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.errors import UserError, unknown_choice
from src.utils.seeding import derive_seed
from src.utils.validation import checked_dataclass

PRODUCT = {
    "task_arithmetic": "task_arithmetic",
    "ties": "ties",
    "dare": "dare_linear",
    "dare_ties": "dare_ties",
    "della": "della",
    "della_linear": "della_linear",
    "breadcrumbs": "breadcrumbs",
    "breadcrumbs_ties": "breadcrumbs_ties",
}
NORMALIZING = ("linear", "ties", "della", "slerp", "nuslerp", "multislerp")  # unless `normalize` says otherwise


@checked_dataclass("merge")
class Mergekit:
    """A merge method of mergekit.

    The specialists' coefficients are passed as `weight`, or for slerp as `t` = w2 / (w1 + w2). Methods for a base and
    one other model (slerp, nearswap, arcee_fusion) get the two specialists, the first one as the base.

    Args:
        name: mergekit's name of the method.
        parameters: Further parameters of the method.
        seed: Seed for methods with random choices.
        base: Pass the base to methods for which it is optional.

    Raises:
        UserError: On use: an unknown name or parameter, or parents that the method does not take.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    seed: int = 0
    base: bool = True
    returns_weights = True

    @property
    def normalize(self) -> bool:
        """True if mergekit divides by the sum of the coefficients."""
        chosen = self.parameters.get("normalize", self.parameters.get("normalize_weights"))
        return self.name in NORMALIZING if chosen is None else bool(chosen)

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from libraries that mergekit imports
            from mergekit import merge_methods
            from mergekit.merge_methods.api import merge_tensors
        try:
            method = merge_methods.get(self.name)
        except RuntimeError as error:
            names = [one.spec.name for one in merge_methods.registered_methods()]
            raise unknown_choice("mergekit method", self.name, names) from error
        inputs, base_index = self._inputs(tensors, method.spec)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(derive_seed(self.seed, "mergekit", tensors.name))
            try:
                parameters = self._parameters(method.spec, coefficients)
                merged = merge_tensors(inputs, method, parameters=parameters, base_index=base_index, name=tensors.name)
            except (ValueError, TypeError, RuntimeError, AssertionError) as error:
                raise UserError(f"mergekit refuses merge={self.name}: {' '.join(str(error).split())}") from error
        flat = merged.reshape(-1).float().to(tensors.device)
        return lambda block: flat[block.start : block.stop]

    def _inputs(self, tensors: ParentTensors, spec: Any) -> tuple[list[torch.Tensor], int | None]:
        specialists = [tensors.stored(k + 1) for k in range(len(tensors.labels))]
        policy, contract = spec.contract.base.value, spec.contract
        if policy == "required" and contract.max_inputs == 2 and len(specialists) == 2:
            return specialists, 0
        if policy == "required" or (policy == "optional" and self.base):
            return [tensors.stored(0), *specialists], 0
        return specialists, None

    def _parameters(self, spec: Any, coefficients: Sequence[float]) -> dict[str, Any]:
        known = {parameter.name for parameter in spec.parameters}
        unknown = sorted(set(self.parameters) - known)
        if unknown:
            raise UserError(f"mergekit's {self.name} has no {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
        ours: dict[str, Any] = {}
        if "weight" in known:
            ours["weight"] = list(coefficients)
        if self.name == "slerp" and len(coefficients) == 2 and sum(coefficients) != 0:
            ours["t"] = coefficients[1] / sum(coefficients)
        return ours | dict(self.parameters)


def as_mergekit(method: str, settings: Mapping[str, Any]) -> Mergekit:
    """mergekit's counterpart of a method in conf/merge.

    Raises:
        UserError: mergekit does not have the method, or not with these settings.
    """
    if method in PRODUCT:
        return _product(method, settings)
    if method == "mergekit":
        return Mergekit(**{**settings, "parameters": settings["parameters"] or {}})
    if method == "linear":
        return Mergekit("linear", {"normalize": settings["normalize"]})
    if method in ("slerp", "nuslerp"):
        by_row = settings.get("by_row", False)
        return Mergekit("nuslerp", {"nuslerp_flatten": not by_row}, base=settings["space"] == "deltas")
    if method == "multislerp":
        return Mergekit("multislerp", {"normalize_weights": settings["normalize"]}, base=settings["space"] == "deltas")
    if method == "model_stock":
        return Mergekit("model_stock", {"filter_wise": settings["by_row"]})
    if method == "sce":
        return Mergekit("sce", {"select_topk": settings["select"]})
    if method == "karcher" and settings["space"] == "weights":
        return Mergekit("karcher", {"max_iter": settings["max_iter"], "tol": settings["tolerance"]})
    raise UserError(f"merge.engine=mergekit: mergekit has no {method} with these settings; set merge.engine=own")


def _product(method: str, settings: Mapping[str, Any]) -> Mergekit:
    kept = ("normalize", "lambda", "density", "epsilon", "gamma")
    parameters = {key: settings[key] for key in kept if key in settings}
    parameters = {key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()}
    if settings.get("trim") == "model":
        raise UserError("merge.engine=mergekit: mergekit lacks merge.trim=model; set tensor, or merge.engine=own")
    if "rescale" in settings:
        if settings["rescale"] == "density":
            raise UserError(
                "merge.engine=mergekit: mergekit lacks merge.rescale=density; set none or l1, or merge.engine=own"
            )
        parameters["rescale"] = settings["rescale"] == "l1"
    return Mergekit(PRODUCT[method], parameters, int(settings.get("seed", 0)))
