"""pytest-celery's fixtures, on local processes and one server that is broker and backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from celery_style.local_containers import FlywheelWorker, FlywheelWorkerContainer, LocalContainer, ValkeyContainer
from processes import Valkey
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryWorkerCluster,
    RedisTestBackend,
    RedisTestBroker,
)


class FlywheelSetup(CeleryTestSetup):  # type: ignore[misc]
    """A plain Celery client knows nothing of this project but the broker's address."""

    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        app.conf.broker_connection_retry_on_startup = True


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return FlywheelSetup


@pytest.fixture(scope="module")
def default_redis_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyContainer]:
    server = Valkey(tmp_path_factory.mktemp("broker"), aof=True).start()
    yield ValkeyContainer(server)
    server.kill()


@pytest.fixture
def celery_broker_cluster(default_redis_broker: ValkeyContainer) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(RedisTestBroker(default_redis_broker))


@pytest.fixture
def celery_backend_cluster(default_redis_broker: ValkeyContainer) -> CeleryBackendCluster:
    return CeleryBackendCluster(RedisTestBackend(default_redis_broker))


@pytest.fixture(scope="module")
def kept_worker(
    tmp_path_factory: pytest.TempPathFactory, default_redis_broker: ValkeyContainer, sandbox_url: str
) -> Iterator[LocalContainer]:
    """One process for all tests of a module: a worker takes seconds to import what it needs."""
    folder = tmp_path_factory.mktemp("worker")
    env = {
        "REDIS_URL": default_redis_broker.url,
        "FLOWISE_BASE_URL": sandbox_url,
        "FLYWHEEL_HOME": str(folder / "home"),
    }
    worker = LocalContainer("worker", FlywheelWorkerContainer.command(), folder=folder, env=env)
    yield worker
    worker.stop(20)


@pytest.fixture
def default_worker_container(kept_worker: LocalContainer) -> FlywheelWorkerContainer:
    """The kept worker, started again if the test before left it dead."""
    if kept_worker.status == "exited":
        kept_worker.start()
    container = FlywheelWorkerContainer(kept_worker)
    assert container.ready()
    return container


@pytest.fixture
def default_worker_container_cls() -> type[FlywheelWorkerContainer]:
    return FlywheelWorkerContainer


@pytest.fixture
def default_worker_cls() -> type[FlywheelWorker]:
    return FlywheelWorker


@pytest.fixture
def celery_worker_cluster(celery_setup_worker: FlywheelWorker) -> CeleryWorkerCluster:
    return CeleryWorkerCluster(celery_setup_worker)
