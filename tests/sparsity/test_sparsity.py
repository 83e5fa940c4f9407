"""Products that skip zeros against float64 references, the packed 2:4 form, and the Triton kernels, interpreted and
compiled."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_utils.sparsity import (
    activation_sparsity,
    backend,
    bag_matvec,
    grouped_matmul,
    matvec,
    matvec_2_4,
    pack_2_4,
    prune_2_4,
    sparse_matvec,
    to_csr_matvec,
    triton_grouped_matmul,
    triton_matvec_2_4,
    triton_skip_matvec,
    triton_sparse_matvec,
    union_density,
    unpack_2_4,
)

ROOT = Path(__file__).parents[2]
MATVECS = (sparse_matvec, bag_matvec, to_csr_matvec, triton_sparse_matvec, triton_skip_matvec)
NAMES = [f.__name__ for f in MATVECS]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
needs_triton = pytest.mark.skipif(matvec.kernels is None, reason="no package triton on this machine")


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def sparse(*shape: int, density: float, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1000)) < density
    return numbers(*shape, seed=seed, dtype=dtype) * kept


def assert_close(y: torch.Tensor, exact: torch.Tensor, size: torch.Tensor) -> None:
    """y rounds `exact` (float64): a few units in the last place of its dtype, of a sum whose magnitudes sum to `size`.

    Below the smallest normal number the last place does not get smaller: float16 has none between 0 and 6e-8."""
    info = torch.finfo(y.dtype)
    assert y.shape == exact.shape
    assert ((y.double() - exact).abs() <= 4 * info.eps * size.clamp(min=info.smallest_normal)).all()


def check_matvec(f, weight_t, h):
    assert_close(f(weight_t, h), h.double() @ weight_t.double(), h.double().abs() @ weight_t.double().abs())


@pytest.mark.parametrize("f", MATVECS, ids=NAMES)
@given(
    st.integers(1, 80),
    st.integers(1, 150),
    st.sampled_from([0, 0.03, 0.3, 1]),
    st.integers(0, 99),
    st.sampled_from(DTYPES),
)
@example(68, 1, 0.03, 94, torch.float16)  # one product, below the smallest normal number
@settings(max_examples=25, deadline=None)
def test_matvec_is_the_dense_product(f, d_in, d_out, density, seed, dtype):
    if f is to_csr_matvec:
        dtype = torch.float32
    check_matvec(f, numbers(d_in, d_out, seed=seed, dtype=dtype), sparse(d_in, density=density, seed=seed, dtype=dtype))


@pytest.mark.parametrize("f", MATVECS[:3], ids=NAMES[:3])
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 0.1, 1]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_batch_is_its_rows(f, batch, d_in, d_out, density, seed):
    h = sparse(batch, d_in, density=density, seed=seed)
    h[batch // 2] = 0  # an empty row
    check_matvec(f, numbers(d_in, d_out, seed=seed), h)


@pytest.mark.parametrize("f", MATVECS, ids=NAMES)
@pytest.mark.parametrize(("d_in", "d_out"), [(0, 3), (3, 0), (1, 1), (64, 64), (65, 1), (1, 65)])
def test_sizes_at_the_edge(f, d_in, d_out):
    for h in (numbers(d_in), torch.zeros(d_in)):
        check_matvec(f, numbers(d_in, d_out), h)


@pytest.mark.parametrize("f", MATVECS, ids=NAMES)
def test_zeros_skip_even_what_is_not_a_number_and_the_rest_does_not(f):
    weight_t, h = numbers(70, 5), sparse(70, density=0.5)
    weight_t[h == 0] = float("nan")
    assert f(weight_t, h).isfinite().all()
    h[0] = float("nan")
    assert f(weight_t, h).isnan().all()


@pytest.mark.parametrize("f", MATVECS, ids=NAMES)
def test_a_transposed_view_will_do(f):
    check_matvec(f, numbers(37, 21).t(), sparse(21, density=0.4))


def test_only_the_rows_of_non_zeros_are_gathered():
    h = torch.tensor([0.0, 2.0, 0.0, -1.0])
    weight_t = numbers(4, 3)
    assert torch.equal(sparse_matvec(weight_t, h), h[[1, 3]] @ weight_t[[1, 3]])


def test_activation_sparsity_by_row_overall_and_shared():
    h = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -2.0, 0.1]])
    found = activation_sparsity(h)
    assert found.per_row.tolist() == [0.75, 0.5] and found.mean == 0.625 and found.shared == 0.25
    assert activation_sparsity(h, 0.1).per_row.tolist() == [0.75, 0.75]
    assert activation_sparsity(h.reshape(2, 1, 4)).per_row.shape == (2,)
    assert activation_sparsity(h[0]).shared == 0.75


def test_union_density_is_what_independent_rows_need():
    found = activation_sparsity(sparse(8, 50_000, density=0.1))
    assert union_density(0.9, 8) == pytest.approx(1 - 0.9**8)
    assert 1 - found.shared == pytest.approx(union_density(found.mean, 8), abs=0.01)
    assert torch.equal(union_density(torch.tensor([0.0, 0.5, 1.0]), 2), torch.tensor([1.0, 0.75, 0.0]))


# 2:4


@given(st.integers(0, 6), st.integers(1, 9), st.integers(0, 99), st.sampled_from(DTYPES))
@settings(max_examples=40, deadline=None)
def test_two_of_four_are_kept_packed_and_unpacked(rows, fours, seed, dtype):
    weight = numbers(rows, 4 * fours, seed=seed, dtype=dtype).round(decimals=1)  # with equals and zeros
    pruned = prune_2_4(weight)
    groups, kept = weight.reshape(-1, 4).abs(), pruned.reshape(-1, 4)
    assert ((kept != 0).sum(1) == (groups != 0).sum(1).clamp(max=2)).all()
    assert torch.equal(kept.abs().double().sum(1), groups.double().topk(2).values.sum(1))
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])
    values, indices = pack_2_4(pruned)
    assert (
        values.shape == (rows, 2 * fours) and indices.shape == (rows, -(-fours // 2)) and indices.dtype == torch.uint8
    )
    assert torch.equal(unpack_2_4(values, indices), pruned)


def test_of_equals_the_first_two_stay():
    assert prune_2_4(torch.ones(4)).tolist() == [1, 1, 0, 0]
    assert prune_2_4(torch.tensor([1.0, -3.0, 2.0, -2.0])).tolist() == [0, -3, 2, 0]
    assert prune_2_4(numbers(2, 3, 8)).shape == (2, 3, 8)


def test_four_places_make_a_byte_lowest_bits_first():
    weight = torch.tensor([[0.0, 5, 0, 6, 7, 0, 8, 0, 0, 0, 9, 0]])
    values, indices = pack_2_4(weight)
    assert values.tolist() == [[5, 6, 7, 8, 0, 9]]
    assert indices.tolist() == [[0b10_00_11_01, 0b10_00]]  # a four with one non-zero takes the first zero as its second


def test_values_are_those_of_torchs_own_conversion():
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    weight = prune_2_4(numbers(32, 64, dtype=torch.float16))
    theirs, meta = conversions.sparse_semi_structured_from_dense_cutlass(weight)
    values, indices = pack_2_4(weight)
    assert torch.equal(values, theirs)
    assert indices.numel() == meta.numel() * meta.element_size()  # as many bytes, in another order


@pytest.mark.parametrize("f", [matvec_2_4, triton_matvec_2_4], ids=["torch", "triton"])
@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 99), st.sampled_from(DTYPES))
@settings(max_examples=25, deadline=None)
def test_matvec_from_the_packed_form(f, rows, fours, seed, dtype):
    weight, x = (
        prune_2_4(numbers(rows, 4 * fours, seed=seed, dtype=dtype)),
        numbers(4 * fours, seed=seed + 1, dtype=dtype),
    )
    weight[rows // 2] = 0  # an empty row
    y = f(*pack_2_4(weight), x)
    assert_close(y, weight.double() @ x.double(), weight.double().abs() @ x.double().abs())
    assert y[rows // 2] == 0


# products by expert


@pytest.mark.parametrize("f", [grouped_matmul, triton_grouped_matmul], ids=["torch", "triton"])
@given(
    st.lists(st.sampled_from([0, 1, 5, 16, 19]), min_size=1, max_size=4),
    st.sampled_from([1, 7, 32, 40]),
    st.sampled_from([1, 12, 33]),
    st.sampled_from(DTYPES),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_grouped_product_is_each_experts_own(f, counts, d_in, d_out, dtype, transposed):
    x, shape = numbers(sum(counts), d_in, dtype=dtype), (d_out, d_in) if transposed else (d_in, d_out)
    weight = numbers(len(counts), *shape, seed=1, dtype=dtype)
    weight = weight.transpose(1, 2) if transposed else weight
    offsets = torch.tensor([0, *counts]).cumsum(0)
    expert = torch.repeat_interleave(torch.tensor(counts))

    def product(x, weight):
        return torch.einsum("ti,tio->to", x, weight[expert])

    assert_close(
        f(x, weight, offsets), product(x.double(), weight.double()), product(x.double().abs(), weight.double().abs())
    )


# where the kernels run


def test_backend_says_one_of_three(monkeypatch):
    assert backend() in ("triton, compiled for CUDA", "triton interpreter on the CPU", "torch")
    monkeypatch.setattr(matvec, "kernels", None)
    assert backend() == "torch"
    check_matvec(triton_sparse_matvec, numbers(20, 30), sparse(20, density=0.2))
    check_matvec(triton_skip_matvec, numbers(20, 30), sparse(20, density=0.2))
    weight = prune_2_4(numbers(3, 8))
    assert torch.equal(triton_matvec_2_4(*pack_2_4(weight), numbers(8)), matvec_2_4(*pack_2_4(weight), numbers(8)))
    assert triton_grouped_matmul(numbers(2, 3), numbers(1, 3, 4), torch.tensor([0, 2])).shape == (2, 4)


RUN = """
import torch
from course_utils.sparsity import backend, triton_grouped_matmul, triton_skip_matvec
h = torch.arange(-3.0, 37).relu()
assert torch.allclose(triton_skip_matvec(torch.eye(40), h), h)
assert torch.allclose(triton_grouped_matmul(h[None], torch.eye(40)[None], torch.tensor([0, 1])), h)
print(backend(), end="")
"""


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ("import triton, triton.language", "triton interpreter on the CPU"),  # as transformers does
        ("import os; os.environ['TRITON_INTERPRET'] = '1'", "triton interpreter on the CPU"),
        ("import sys; sys.modules['triton'] = None", "torch"),
    ],
    ids=["triton imported before", "variable set", "no triton"],
)
def test_the_module_works_in_any_order_and_without_triton(first, says):
    if says != "torch" and matvec.kernels is None:
        pytest.skip("no package triton on this machine")
    if says != "torch" and torch.cuda.is_available() and "environ" not in first:
        says = "triton, compiled for CUDA"
    done = subprocess.run([sys.executable, "-c", f"{first}\n{RUN}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == says, done.stderr


KERNELS = ("_skip", "_gather", "_two_of_four", "_grouped")
POINTERS = {"index": "*i64", "offsets": "*i64", "packed": "*u8"}  # the others point to numbers of the dtype


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """(kernel, dtype, capability, **constants) -> PTX. For a GPU that is not here: the program is made, not run."""
    triton = pytest.importorskip("triton")
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET=1: Triton's own functions cannot be compiled")
    from triton.backends.compiler import GPUTarget

    def compile(name, dtype, capability, **constants):
        tuned = getattr(matvec.kernels, name)
        function, blocks = triton.JITFunction(tuned.base_fn), tuned.configs[0]
        constants = {**blocks.kwargs, **constants}
        place = function.arg_names.index
        pointers = {n: f"*{dtype}" for n in ("weight_t", "weight", "h", "x", "values")} | POINTERS
        pointers["y"] = f"*{dtype}" if name == "_grouped" else "*fp32"
        kinds = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in function.arg_names}
        aligned = {(place(n),): [["tt.divisibility", 16]] for n in kinds if n not in constants and n != "experts"}
        values = {(place(n),): value for n, value in constants.items()}
        source = triton.compiler.ASTSource(function, kinds, values, aligned)
        options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
        return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield compile


@needs_triton
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
@pytest.mark.parametrize("name", KERNELS[:3])
def test_a_kernel_for_one_vector_reads_only_what_it_needs(compiled, name, capability, dtype):
    """Each load has a predicate, so that a row of a zero is not read; blocks of W come four registers at a time; shares
    of y are added in memory; there is no loop, so all loads of a program are under way at once."""
    ptx = compiled(name, dtype, capability)
    loads = [line.strip() for line in ptx.splitlines() if "ld.global" in line]
    assert loads and all(line.startswith("@") for line in loads)
    assert any(".v4" in line for line in loads)
    assert re.search(r"(red|atom)\.global[\w.]*\.add\.f32", ptx)
    assert not re.search(r"\bbra\b", ptx)


@needs_triton
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
@pytest.mark.parametrize("tile", [16, 64, 128])
def test_the_grouped_product_is_made_of_tensor_cores(compiled, tile, capability, dtype):
    """Loads are pipelined (cp.async), half precision is multiplied by tensor cores: by wgmma on an H100 from 64 rows
    on, else by mma. float32 keeps its digits, so it uses none."""
    ptx = compiled("_grouped", dtype, capability, BLOCK_T=tile, EXPERTS=8, per_column=1)
    wgmma = dtype != "fp32" and capability == 90 and tile >= 64
    assert "cp.async" in ptx
    assert ("wgmma.mma_async" in ptx) == wgmma
    assert ("mma.sync" in ptx) == (dtype != "fp32" and not wgmma)


@needs_triton
def test_nothing_is_read_back_from_the_gpu(monkeypatch):
    """A launcher that asks a tensor for its values would wait for the GPU."""

    def read(*_):
        raise AssertionError("a value is read back")

    weight_t, h, x = numbers(96, 40), sparse(96, density=0.2), numbers(20, 96)
    packed, offsets = pack_2_4(prune_2_4(numbers(40, 96))), torch.tensor([0, 5, 5, 20])
    for name in ("item", "tolist", "nonzero", "__bool__", "__int__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    kernels = matvec.kernels
    for function in (kernels.skip, kernels.gather, kernels.two_of_four, kernels.grouped):
        monkeypatch.setattr(matvec.kernels, "_" + function.__name__, Launched())
    y = [kernels.skip(weight_t, h), kernels.gather(weight_t, h), kernels.two_of_four(*packed, h)]
    assert [tuple(part.shape) for part in y] == [(40,)] * 3
    assert kernels.grouped(x, numbers(3, 96, 7), offsets).shape == (20, 7)


class Launched:
    """In a kernel's place: takes its grid and its arguments, and does nothing."""

    def __getitem__(self, grid):
        assert all(size > 0 for size in grid(dict.fromkeys(("BLOCK_K", "BLOCK_M", "BLOCK_N"), 32)))
        return lambda *arguments, **constants: None


# bad input: ValueError, in one clear line

W, H = torch.ones(4, 3), torch.ones(4)
VALUES, INDICES = torch.ones(2, 4), torch.zeros(2, 1, dtype=torch.uint8)
X, EXPERTS = torch.ones(5, 4), torch.ones(2, 4, 3)


@pytest.mark.parametrize("f", MATVECS, ids=NAMES)
@pytest.mark.parametrize(
    "bad", [(W[0], H), (W, H[:3]), (W, torch.ones(1, 1, 4)), (W, H.double()), (W.long(), H.long())]
)
def test_matvec_refuses(f, bad):
    with pytest.raises(ValueError, match="must"):
        f(*bad)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: triton_sparse_matvec(W, H[None]), r"h \(in,\), got \(4, 3\) and \(1, 4\)"),
        (lambda: to_csr_matvec(W.half(), H.half()), "float32 or float64"),
        (lambda: activation_sparsity(torch.ones(())), "at least one entry"),
        (lambda: activation_sparsity(H, -1), "threshold must be 0 or more"),
        (lambda: union_density(1.5, 2), "from 0 to 1, got 1.5"),
        (lambda: union_density(float("nan"), 2), "from 0 to 1, got nan"),
        (lambda: union_density(0.5, 0), "1 or more, got 0"),
        (lambda: prune_2_4(torch.ones(3, 6)), "multiple of 4"),
        (lambda: pack_2_4(torch.ones(4)), "multiple of 4"),
        (lambda: pack_2_4(torch.ones(2, 4)), "more than two non-zeros; call prune_2_4 first"),
        (lambda: unpack_2_4(VALUES, INDICES.int()), "packed form"),
        (lambda: unpack_2_4(VALUES, INDICES[:1]), "packed form"),
        (lambda: matvec_2_4(VALUES, INDICES, torch.ones(4)), r"x must be \(8,\)"),
        (lambda: triton_matvec_2_4(VALUES, INDICES, torch.ones(8).half()), "one floating dtype"),
        (lambda: grouped_matmul(X, EXPERTS[0], torch.tensor([0, 5])), r"weight \(E, in, out\)"),
        (lambda: grouped_matmul(X, EXPERTS, torch.tensor([0, 5])), "3 whole numbers"),
        (lambda: grouped_matmul(X, EXPERTS, torch.tensor([0.0, 2, 5])), "3 whole numbers"),
        (lambda: triton_grouped_matmul(X, EXPERTS, torch.tensor([0, 6, 5])), "rise from 0 to the number of tokens, 5"),
        (lambda: triton_grouped_matmul(X, EXPERTS, torch.tensor([0, 2, 4])), "rise from 0"),
        (lambda: triton_grouped_matmul(X.half(), EXPERTS, torch.tensor([0, 2, 5])), "one floating dtype"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


@needs_triton
def test_the_kernels_take_no_float64():
    if backend("cpu") == "torch":
        pytest.skip("the kernels are compiled for a GPU")
    with pytest.raises(ValueError, match="float32, float16 and bfloat16, got torch.float64"):
        triton_sparse_matvec(W.double(), H.double())
