"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

from mobileyolact.contract import CONTRACT_KEY, OUTPUT_NAMES, ModelContract
from mobileyolact.errors import ContractError, ModelError, NoContractError
from mobileyolact.runtime.backends.base import (
    FloatArray,
    RawOutputs,
    check_outputs,
    check_tensor,
    count_threads,
    register,
)


@register("onnxruntime", ".onnx")
class OnnxRuntimeBackend:
    """Runs an ONNX file that carries a contract in its metadata.

    Args:
        path: the ``.onnx`` file.
        threads: threads of the engine. They sleep between calls instead of spinning.

    Raises:
        ModelError: missing or damaged file.
        ContractError: no contract, or one that does not belong to this network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        session = open_session(path, threads)
        text = session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY)
        if text is None:
            raise NoContractError(
                f"{path} has no contract, so it is not a model of mobileyolact; "
                "make one with: mobileyolact export"
            )
        self.contract = ModelContract.from_json(text, str(path))
        self._path = path
        self._description = f"onnxruntime {onnxruntime.__version__}, CPU, {count_threads(threads)}"
        self._session: Any = session
        self._input = self._check_names()

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Run the network; see ``Backend.run``."""
        if self._session is None:
            raise ModelError(f"the backend of {self._path} is closed; open it again")
        check_tensor(tensor, self.contract)
        arrays = self._session.run(list(OUTPUT_NAMES), {self._input: tensor})
        return check_outputs(RawOutputs(*arrays), self.contract, str(self._path))

    def describe(self) -> str:
        return self._description

    def close(self) -> None:
        self._session = None

    def _check_names(self) -> str:
        inputs = self._session.get_inputs()
        outputs = {output.name for output in self._session.get_outputs()}
        expected = [1, 3, *self.contract.input_size]
        if len(inputs) != 1 or inputs[0].shape != expected or not outputs.issuperset(OUTPUT_NAMES):
            raise ContractError(
                f"{self._path} does not have one input of shape {expected} and the outputs "
                f"{', '.join(OUTPUT_NAMES)} of its contract; export the model again"
            )
        return str(inputs[0].name)


def open_session(path: Path, threads: int) -> Any:
    """An ``InferenceSession`` on the CPU of any ONNX file, ours or not.

    Raises:
        ModelError: missing, damaged, or nothing that ONNX Runtime can run.
    """
    import onnxruntime

    if not path.is_file():
        raise ModelError(f"there is no model file {path}; check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # damaged files are reported by ModelError alone
    # A spinning thread burns a core between pictures, and stalls where a core is busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine has a class of its own for every kind of damage
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"ONNX Runtime cannot load {path}: {reason}; export or download it again"
        ) from None
