#!/usr/bin/env python3
"""Exit 0 if the inference plane in this container answers /health, 1 if not: the containers' health check.

Standard library only: it runs every few seconds, so it must start in no time.
"""

import os
import ssl
import sys
import urllib.request

port = os.environ.get("INGRAIN_INFERENCE_PORT") or "8686"
scheme, tls = "http", None
if os.environ.get("INGRAIN_TLS_CERT_FILE"):
    # Not verified: the certificate names the public host, and the connection does not leave the container.
    scheme, tls = "https", ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
try:
    # A proxy from the environment must not stand between the container and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    opener.open(f"{scheme}://127.0.0.1:{port}/health", timeout=3).close()
except OSError as error:  # an HTTP error status is one too
    sys.exit(f"/health on port {port}: {error}")
