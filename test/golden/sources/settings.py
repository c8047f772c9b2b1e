"""What a step may ask for: resources, environment, retries, caching off, order only, display name, optional inputs."""

from typing import List, Optional

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def collect(names: List[str], limits: dict, note: Optional[str] = None, strict: bool = True) -> List[str]:
    return names if strict else [note or ""]


@dsl.container_component
def show(names: List[str], prefix: str = "n", suffix: Optional[str] = None):
    return dsl.ContainerSpec(
        image="busybox:1.36",
        command=["sh", "-c", 'echo "$@"', "show"],
        args=[
            dsl.ConcatPlaceholder([prefix, "=", names]),
            dsl.IfPresentPlaceholder("suffix", then=["--suffix", suffix], else_=["--plain"]),
        ],
    )


@dsl.container_component
def clean():
    return dsl.ContainerSpec(image="busybox:1.36", command=["sh", "-c", "true"])


@dsl.pipeline(name="settings")
def pipeline(names: List[str] = ["a", "b"], limits: dict = {"top": 3}, note: Optional[str] = None):
    first = collect(names=names, limits=limits, note=note)
    first.set_cpu_limit("2").set_memory_limit("4G").set_env_variable("MODE", "fast")
    first.set_retry(num_retries=3, backoff_duration="2s", backoff_factor=2, backoff_max_duration="60s")
    first.set_caching_options(False)
    second = show(names=first.output, prefix=f"run-{dsl.PIPELINE_JOB_ID_PLACEHOLDER}")
    second.set_display_name("Show the names")
    clean().after(second)
