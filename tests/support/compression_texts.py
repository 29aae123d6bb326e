"""Settings of every registered compression, as text."""

_WIDE = ("tq2_0", "q3_k", "q4_k")

EXAMPLES = {
    "rtn": [
        "rtn:bits=2",
        "rtn:bits=4,group=8",
        "rtn:bits=3,group=16,symmetric=false",
        "rtn:bits=4,convention=gptq,clip=mse",
        "rtn:bits=4,convention=full,scope=tensor",
        "rtn:bits=5,axis=input",
        "rtn:bits=3,symmetric=false,axis=heads",
    ],
    "cast": ["cast:dtype=bfloat16", "cast:dtype=float16", "cast:dtype=float8_e4m3fn"],
    "prune": [
        "prune:sparsity=0.3",
        "prune:sparsity=0.5,scope=row",
        "prune:sparsity=0.4,scope=global",
        "prune:pattern=2:4",
        "prune:sparsity=0.5,by=wanda",
        "prune:sparsity=0.5,by=wanda,scope=tensor",
        "prune:pattern=2:4,by=wanda",
        "prune:sparsity=0.5,by=sparsegpt",
        "prune:pattern=2:4,by=sparsegpt",
    ],
    "awq": [
        "awq:bits=4,group=8",
        "awq:bits=3,group=0,symmetric=true",
        "awq:bits=2,group=4,scale=ratio,clip=false",
    ],
    "fp8": ["fp8", "fp8:scope=tensor,activations=none,dtype=float8_e5m2", "fp8:activations=tensor"],
    "w8a8": ["w8a8", "w8a8:scope=block,activations=block"],
    "gptq": [
        "gptq:bits=2",
        "gptq:bits=4,group=8",
        "gptq:bits=3,group=8,symmetric=false,act_order=true",
        "gptq:bits=4,convention=gptq,clip=mse,sequential=false",
        "gptq:bits=3,damping=0.1,cholesky=false",
    ],
    "int8": ["int8", "int8:threshold=0.0"],
    "smoothquant": ["smoothquant", "smoothquant:alpha=0.8,activations=tensor,scope=tensor"],
    "nf4": ["nf4", "nf4:block=24", "nf4:block=8,double=true"],
    "fp4": ["fp4:block=16", "fp4:double=true"],
    "nvfp4": ["nvfp4", "nvfp4:activations=tensor"],
    "mxfp4": ["mxfp4:activations=block"],
    "mxfp6": ["mxfp6:exponent=floor,format=e3m2"],
    "mxfp8": ["mxfp8:exponent=ceil,format=e5m2"],
    "gguf": [
        *(f"gguf:type={kind}" for kind in ("q4_0", "q4_1", "q8_0", "mxfp4", *_WIDE)),
        "gguf:mix=q4_k_m",
    ],
    "quip": ["quip:bits=2", "quip:bits=4,symmetric=true,clip=none,damping=0.1"],
    "hqq": ["hqq:bits=3,group=8", "hqq:bits=4,group=0"],
    "squeezellm": ["squeezellm:bits=2", "squeezellm:bits=3,outliers=0.02"],
    "mixed": [
        "mixed:*.mlp.*=[rtn:bits=3],*=[prune:sparsity=0.4,scope=global]",
        "mixed:*.mlp.*=[squeezellm:bits=2],*=[nf4:block=16]",
    ],
    "folded": ["folded:of=[rtn:bits=4]", "folded:of=[gptq:bits=3,group=8]"],
    "rotated": ["rotated:of=[rtn:bits=3]", "rotated:of=[gptq:bits=3]"],
    "nothing": ["nothing"],
    "noise": ["noise:like=[rtn:bits=3]", "noise:like=[prune:sparsity=0.4,scope=global]"],
}
"""Settings under which the laws are tried, for every registered name."""

TEXTS = [text for texts in EXAMPLES.values() for text in texts]
EVERYWHERE = [text for text in TEXTS if text not in {f"gguf:type={kind}" for kind in _WIDE}]
"""Those that suit the matrices of every tiny model: without blocks of 256 columns."""
