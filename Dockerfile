# One image: the gateway (`serve`) and the runner that executes jobs on cluster nodes.
#
#   docker build -t tesgw .
#   docker run -p 8000:8000 -v /var/run/docker.sock:/var/run/docker.sock -v /srv/tesgw:/srv/tesgw tesgw
#
# Tasks are containers of the host's engine, so the work directory must have the same content on the host: mount one.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/tesgw && /opt/tesgw/bin/pip install --no-cache-dir .

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/tesgw /opt/tesgw
ENV PATH=/opt/tesgw/bin:$PATH PYTHONUNBUFFERED=1 APP_LOCAL_WORK_DIR=/srv/tesgw
# Root: Docker's socket belongs to root, and whoever may use it is root on the host anyway. A backend that needs no socket
# runs as well with `--user 65534`.
WORKDIR /srv/tesgw
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=20s CMD ["python3", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["tesgw"]
CMD ["serve", "--host", "0.0.0.0"]
