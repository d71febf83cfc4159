"""On PyTorch, a layer is a `torch.nn.Module`, some of whose names are reserved."""

from __future__ import annotations

import inspect

import keras
import pytest

from symae_keras import layers, models

#: Names of `torch.nn.Module` that Keras's classes do not override.
TAKEN = set(
    """
    T_destination __delattr__ __getattr__ __setstate__ _apply _backward_hooks
    _backward_pre_hooks _buffers _call_impl _compiled_call_impl _forward_hooks
    _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks
    _forward_pre_hooks_with_kwargs _get_backward_hooks _get_backward_pre_hooks
    _get_name _is_full_backward_hook _load_from_state_dict
    _load_state_dict_post_hooks _load_state_dict_pre_hooks
    _maybe_warn_non_full_backward_hook _modules _named_members
    _non_persistent_buffers_set _parameters _register_load_state_dict_pre_hook
    _register_state_dict_hook _replicate_for_data_parallel _save_to_state_dict
    _slow_forward _state_dict_hooks _state_dict_pre_hooks _version
    _wrapped_call_impl add_module apply bfloat16 buffers call_super_init children
    compile cpu cuda double dump_patches eval extra_repr float forward get_buffer
    get_extra_state get_parameter get_submodule half ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters
    register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training
    type xpu zero_grad
    """.split()
)


def _classes() -> list[type]:
    found = set()
    for module in (models, layers):
        for _, each in inspect.getmembers(module, inspect.isclass):
            found |= {p for p in each.__mro__ if p.__module__.startswith("symae_keras")}
    return sorted(found, key=lambda each: each.__qualname__)


@pytest.mark.jax
def test_the_names_of_torch_are_free() -> None:
    classes = _classes()
    assert len(classes) > 60
    taken = {
        f"{each.__name__}.{n}"
        for each in classes
        # Deprecated names are looked up before PyTorch's own `__getattr__` is called.
        for n in TAKEN & set(vars(each)) - {"__getattr__"}
    }
    assert taken == set()


@pytest.mark.jax
def test_the_list_is_complete() -> None:
    """The list agrees with PyTorch's own, if PyTorch is the backend."""
    if keras.backend.backend() != "torch":
        pytest.skip("needs the PyTorch backend")
    import torch

    module = torch.nn.Module()
    names = set(dir(torch.nn.Module)) | set(vars(module))
    ours = set(dir(object)) | set(vars(keras.Layer)) | set(vars(keras.Model))
    assert names - ours - {n for n in names if n.startswith("__")} <= TAKEN
