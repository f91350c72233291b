# rewardd: build a virtual environment, then carry only it into a bare runtime.
#
#   docker build -t rewardd .                                        CPU (`make image` adds the version)
#   docker build -t rewardd:cuda --build-arg TORCH=cuda --build-arg TORCH_INDEX= .   CUDA (PyPI's torch)
#
# Pin PYTHON_IMAGE by digest where builds must repeat to the byte.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
# The build of torch, and where it comes from beside PyPI: cpu has an index of its own; for cuda leave
# TORCH_INDEX empty. Empty with cpu: from whatever pip is configured for.
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# "train" trains and serves; "serve" makes a smaller image that only serves.
ARG EXTRA=train
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The environment gets no pip of its own: the base image's one fills it from outside.
RUN python3 -m venv --without-pip /opt/rewardd
# Only files whose sha256 is written down, and nothing that they ask for beside them. Torch first and
# our source last: changing a line of ours installs none of it again.
COPY requirements requirements
RUN python3 -m pip --python /opt/rewardd/bin/python install --require-hashes --no-deps --only-binary :all: \
      ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} -r requirements/torch-${TORCH}.txt
RUN python3 -m pip --python /opt/rewardd/bin/python install -q --require-hashes --no-deps --only-binary :all: \
      -r requirements/${EXTRA}.txt
COPY pyproject.toml setup.py ./
COPY README.md LICENSE ./
COPY rm_core rm_core
COPY service service
COPY training training
COPY rm_client rm_client
COPY rewardd rewardd
RUN python3 -m pip --python /opt/rewardd/bin/python install -q --no-deps --no-build-isolation --no-index ./rm_client .
RUN python3 -m pip --python /opt/rewardd/bin/python check

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="rewardd" \
      org.opencontainers.image.description="The reward-model service for RLHF: two reward models, exact scores, PPO rewards over HTTP" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base image's pip is of no use here, and what isn't there can't be called.
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
 && groupadd --gid 10001 rewardd \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin rewardd \
 && install -d -o 10001 -g 10001 /state /models
COPY --from=build /opt/rewardd /opt/rewardd
ENV PATH=/opt/rewardd/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    REWARDD_HOST=0.0.0.0 \
    REWARDD_PORT=8000 \
    REWARDD_STATE_DIR=/state
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['REWARDD_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["rewardd"]
CMD ["serve"]
