# One image: the gateway (`serve`) and, with `--entrypoint tesgw-batch`, what Azure Batch nodes run (`run`).
#
#   docker build -t tesgw .
#   docker run -p 8000:8000 -v /var/run/docker.sock:/var/run/docker.sock -v /srv/tesgw:/srv/tesgw tesgw
#
# Tasks are containers of the host's engine, so the work directory must have the same content on the host: mount one.
# For Azure Batch tell the image the name under which nodes will pull it:
#
#   docker build -t REGISTRY/tesgw:1 --build-arg FILETRANSFER_CONTAINER_IMAGE=REGISTRY/tesgw:1 .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# A stage of its own: other changes of pyproject.toml leave the requirements, and so the next stage, as they were.
FROM ${PYTHON_IMAGE} AS requirements
COPY pyproject.toml .
RUN ["python3", "-c", "import tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    needed = project['dependencies'] + project['optional-dependencies']['batch']; \
    open('/requirements.txt', 'w').write('\\n'.join(needed))"]

FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv --without-pip /opt/tesgw
COPY --from=requirements /requirements.txt /
RUN python3 -m pip --python /opt/tesgw/bin/python3 install --no-cache-dir --requirement /requirements.txt
WORKDIR /src
COPY . .
RUN python3 -m pip --python /opt/tesgw/bin/python3 install --no-cache-dir --no-deps --prefix /opt/code '.[batch]'

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/tesgw/bin:$PATH PYTHONUNBUFFERED=1 APP_LOCAL_WORK_DIR=/srv/tesgw
# Root: Docker's socket belongs to root, and whoever may use it is root on the host anyway. A backend that needs no socket
# runs as well with `--user 65534`.
WORKDIR /srv/tesgw
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=20s CMD ["python3", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["tesgw"]
CMD ["serve", "--host", "0.0.0.0"]
COPY --from=build /opt/tesgw /opt/tesgw
COPY --from=build /opt/code /opt/tesgw
ARG FILETRANSFER_CONTAINER_IMAGE
ENV APP_FILETRANSFER_CONTAINER_IMAGE=${FILETRANSFER_CONTAINER_IMAGE}
