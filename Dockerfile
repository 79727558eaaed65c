# Two images from one file:
#   serve  serves models that are already in the repository; has no torch, so it cannot convert new ones
#   full   also converts models (the default)
#
#   docker build --target serve -t ingrain:serve .
#   docker build -t ingrain:full .
#
# The versions are those of requirements/constraints.txt. PIP_INDEX_URL and PIP_EXTRA_INDEX_URL name other package
# indexes at build time; with PyTorch's own CPU index as the extra one, `full` is several gigabytes smaller.

FROM python:3.11.14-slim-bookworm AS python
ENV PATH=/opt/ingrain/bin:$PATH

# The packages come before the sources, so that a change of the code installs nothing anew. For them the build needs
# only the name, the version and the requirements of Ingrain.
FROM python AS serve-packages
WORKDIR /build
COPY requirements/constraints.txt requirements/hashes-serve.txt requirements/hashes-full.txt requirements/
COPY pyproject.toml README.md LICENSE ./
COPY src/ingrain/__init__.py src/ingrain/
# Newer versions of pip keep the constraints of the build's own environment apart.
ENV PIP_CONSTRAINT=/build/requirements/constraints.txt \
    PIP_BUILD_CONSTRAINT=/build/requirements/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN python -m venv /opt/ingrain
# First all files of the lock, each checked by its hash. On another architecture than the lock's that is none, and the
# next line installs the same versions.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --require-hashes -r requirements/hashes-serve.txt && pip install '.[serve,otel]'

FROM serve-packages AS full-packages
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --require-hashes -r requirements/hashes-full.txt && pip install '.[serve,export,otel]'

FROM serve-packages AS serve-install
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --force-reinstall .

FROM full-packages AS full-install
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --force-reinstall .

FROM python AS runtime
# A named volume takes the owner of the folder that it is mounted over. What is mounted at the links in /app, where the
# first generation of Ingrain had its folders, is found at their targets.
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /cache ingrain \
    && install --directory --owner=ingrain --group=ingrain /repository /repository/triton /cache /cache/huggingface \
    && install --directory /app \
    && ln --symbolic /repository /app/model_repository \
    && ln --symbolic /cache/huggingface /app/model_cache
COPY --chmod=755 docker/health.py /usr/local/bin/ingrain-health
COPY --chmod=755 docker/entrypoint.sh /usr/local/bin/ingrain-entrypoint
ENV INGRAIN_HOST=0.0.0.0 \
    INGRAIN_REPOSITORY=/repository \
    HF_HOME=/cache/huggingface \
    HOME=/cache \
    PYTHONUNBUFFERED=1
# The entry point gives mounted folders to a user that is not root, and runs the server as that user.
# hadolint ignore=DL3002
USER 0:0
EXPOSE 8686 8687
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["ingrain-health"]
ENTRYPOINT ["ingrain-entrypoint", "ingrain"]
CMD ["serve"]

FROM runtime AS serve
COPY --from=serve-install /opt/ingrain /opt/ingrain

FROM runtime AS full
COPY --from=full-install /opt/ingrain /opt/ingrain
