"""gRPC of several workers, which listen on one port, over TLS and with a key."""

import contextlib
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
import trustme
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from processes import MINILM, free_port, serve

pytestmark = pytest.mark.slow

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""]
KEY = {"authorization": "Bearer secret"}


def test_each_worker_answers_as_one_over_http_does(ready_repository, monkeypatch):
    """Many connections reach all workers, which count together."""
    ca, port = trustme.CA(), free_port()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(ready_repository / "server.pem")
    ca.cert_pem.write_to_path(ready_repository / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(ready_repository / "ca.pem"))
    variables = {
        "INGRAIN_TLS_CERT_FILE": str(ready_repository / "server.pem"),
        "INGRAIN_TLS_KEY_FILE": str(ready_repository / "server.pem"),
        "INGRAIN_API_KEYS": "secret",
        "INGRAIN_GRPC_PORT": str(port),
    }

    @contextlib.contextmanager
    def connected() -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
        credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes())
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            yield service_pb2_grpc.GRPCInferenceServiceStub(channel)

    with serve(ready_repository, f"--models={MINILM}", "--workers=2", **variables) as server:
        server.wait_until(lambda: httpx.get(f"{server.inference}/ready").status_code == 200, 300)
        body = {"name": MINILM, "text": TEXTS}
        native = httpx.post(f"{server.inference}/embed_text", json=body, headers=KEY, timeout=60).json()["embeddings"]
        request = pb.ModelInferRequest(model_name=MINILM)
        contents = {"bytes_contents": [text.encode() for text in TEXTS]}
        request.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)], contents=contents)
        workers = set()
        for _ in range(12):
            with connected() as stub:
                answer, call = stub.ModelInfer.with_call(request, timeout=60, metadata=tuple(KEY.items()))
                (output,) = answer.outputs
                vectors = np.reshape(output.contents.fp32_contents, output.shape)
                assert np.abs(vectors - np.array(native)).max() <= 1e-6
                workers.add(dict(call.trailing_metadata())["x-request-id"][:20])
        assert len(workers) == 2, "each request id begins with those of its process"
        headers = KEY | {"accept": "text/plain"}
        metrics = httpx.get(f"{server.inference}/metrics", headers=headers, timeout=60).text
        assert 'route="/inference.GRPCInferenceService/ModelInfer",status="200"} 12.0' in metrics
        with connected() as stub:
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request, timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
