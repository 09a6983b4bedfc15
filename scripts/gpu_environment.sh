# Source this to let MindSpore find the CUDA 11 libraries that `pip install '.[gpu]'` has brought:
#   . scripts/gpu_environment.sh
#
# MindSpore 2.10 loads its GPU plugin when CUDA_HOME/bin/nvcc says 11.6 to 11.8 and the libraries are on LD_LIBRARY_PATH.
# The packages have the libraries and no nvcc, whose version alone is asked: here a file of two lines says it. An nvcc of
# your own that is one of these versions stays. The driver (libcuda.so.1) comes with the machine.

_mindcv_hrnet_gpu() {
    local packages folder libraries="" nvcc="${CUDA_HOME:-/nonexistent}/bin/nvcc"
    packages=$(python -c 'import importlib.util as u; s = u.find_spec("nvidia"); print(list(s.submodule_search_locations)[0] if s else "")') || return 1
    if [ ! -d "$packages/cudnn/lib" ] || [ ! -d "$packages/cublas/lib" ]; then
        echo "error: the CUDA 11 packages are not installed here; pip install '.[gpu]'" >&2
        return 1
    fi
    for folder in "$packages"/*/lib; do libraries="$libraries$folder:"; done
    case "$("$nvcc" --version 2>/dev/null)" in
        *"release 11.6"* | *"release 11.7"* | *"release 11.8"*) ;;
        *)
            CUDA_HOME="${XDG_CACHE_HOME:-$HOME/.cache}/mindcv_hrnet/cuda-11.8"
            mkdir -p "$CUDA_HOME/bin" || return 1
            printf '#!/bin/sh\necho "Cuda compilation tools, release 11.8, V11.8.89"\n' >"$CUDA_HOME/bin/nvcc" &&
                chmod +x "$CUDA_HOME/bin/nvcc" || return 1
            ;;
    esac
    export CUDA_HOME LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:-}"
    echo "CUDA_HOME $CUDA_HOME, libraries of $packages"
}
_mindcv_hrnet_gpu
