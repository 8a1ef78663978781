# The web service, as an unprivileged user: docker build -t cifar . && docker run -p 8501:8501 -v "$PWD:/store" cifar RUN
# docs/deployment.md has the details. The steps were never run by an image builder.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE run.py ./
COPY cifar cifar
COPY conf conf
COPY hydra_plugins hydra_plugins
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir ".[serve]"

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --home-dir /tmp cifar
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp MLFLOW_TRACKING_URI=sqlite:////store/mlflow.db
USER 10001
WORKDIR /tmp
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/readyz', timeout=2)"]
ENTRYPOINT ["cifar", "serve", "--host", "0.0.0.0"]
