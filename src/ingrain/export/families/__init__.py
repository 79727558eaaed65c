"""Model families: one package per source library, with the code that converts its models to ONNX graphs."""
