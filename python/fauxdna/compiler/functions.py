"""Which ONNX operators work element by element."""

from __future__ import annotations

FUNCTIONS = frozenset(
    (
        *(
            "Abs",
            "Add",
            "Ceil",
            "Clip",
            "Cos",
            "Div",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "LeakyRelu",
        ),
        *("Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin"),
        *("Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu"),
    )
)
"""Element-wise operators: with one variable operand they can be part of a table."""
