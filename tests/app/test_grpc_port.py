"""The port for gRPC of a real server: when there is one, whose it is, and how it ends."""

import logging
import subprocess
import sys
import time

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from ingrain.app.parts import build_parts
from ingrain.settings import Settings
from processes import free_port, serve


def test_it_is_served_until_the_server_ends_and_is_no_other_servers(tmp_path):
    port = free_port()
    flags = ("--engine=onnxruntime", f"--grpc-port={port}")
    with (
        serve(tmp_path, *flags) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=60).live
        server.wait_until(lambda: stub.ServerReady(pb.ServerReadyRequest()).ready, 60)
        command = [sys.executable, "-m", "ingrain", "serve", "--inference-port=0", "--model-port=0", *flags]
        second = [*command, f"--repository={tmp_path / 'second'}"]
        done = subprocess.run(second, capture_output=True, text=True, timeout=60)
        assert (done.returncode != 0, "INGRAIN_GRPC_PORT" in done.stderr) == (True, True), done.stderr
        stream = stub.ModelStreamInfer(iter(lambda: time.sleep(0.1) or pb.ModelInferRequest(id="a"), None))
        assert next(stream).infer_response.id == "a"
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 18, "an idle stream does not hold the server up"
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Traceback" not in server.log.read_text()


def test_without_the_dialect_there_is_none_and_the_log_says_so(tmp_path, caplog):
    settings = Settings(grpc_port=8688, dialects=("openai",), repository=tmp_path, engine="onnxruntime")
    with caplog.at_level(logging.WARNING):
        build_parts(settings)
    assert "INGRAIN_DIALECTS leaves `kserve` out" in caplog.text


def test_servers_without_the_port_do_not_import_its_code():
    program = """
import sys
import ingrain.app.run
import ingrain.app.workers.worker
from ingrain.app.grpc_port import grpc_server
from ingrain.server.dialects.table import DIALECTS
from ingrain.settings import Settings

assert grpc_server(Settings(), DIALECTS, None, None) is None
ours = [name for name in sys.modules if name.startswith("ingrain") and "grpc" in name]
assert ours == ["ingrain.app.grpc_port"], ours
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
