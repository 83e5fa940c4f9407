"""The quiz of 06_sparsity_and_kernels: when a zero is free, batches, 2:4, CSR, SiLU, and what a timing says."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "sparsity_and_kernels.quiz",
    [
        choice(
            "Half of h is exactly 0. Why is the plain product W h not any faster for it?",
            [
                (
                    "It reads and multiplies every weight, for nobody told it which ones meet a zero",
                    "Yes: 0 times a vector is only free if the row is never read. The code has to find the zeros and skip.",
                ),
                (
                    "Multiplying by 0 takes a processor longer than multiplying by another number",
                    "A product takes the same time for every ordinary number. The cost is that it is done, and its weight read.",
                ),
                (
                    "It is faster by half, because processors drop products with 0 by themselves",
                    "They do not: 0 times nan must be nan, so a plain product may not even drop them. Skipping must be asked for.",
                ),
                (
                    "It needs the zeros in the weights, and those in activations can never be skipped",
                    "They can: a zero in h makes a whole column of W unnecessary, which is one row of W^T to leave unread.",
                ),
            ],
        ),
        choice(
            "Each row has 90% zeros. With 32 rows there is hardly a column to skip, but real rows do better than 1 - s^B. Why?",
            [
                (
                    "A column is free only if it is 0 in all rows, and real rows share many of their zeros",
                    "Yes: 0.9^32 is 3%, if zeros fall independently. Units that are rarely used are 0 in most rows at once.",
                ),
                (
                    "Large batches have fewer zeros in each row, and real rows have more of them",
                    "The share in each row does not depend on the batch. What fills up is the union of what the rows need.",
                ),
                (
                    "The non-zeros of the rows add up to B (1 - s), and real rows are shorter",
                    "B (1 - s) would be 3.2, more than all columns: shared ones are counted repeatedly. The length plays no part.",
                ),
                (
                    "A batch is computed row by row, and real rows are sorted by their zeros",
                    "A batched product reads each needed column once for all rows, in any order: a column is free if no row needs it.",
                ),
            ],
        ),
        choice(
            "Your activations are 60% zero. Does the 2:4 hardware path make use of that?",
            [
                (
                    "No: 2:4 is about zeros in the weights, pruned beforehand in every group of four",
                    "Yes: the places of the kept weights are stored with them. Activations change with every token.",
                ),
                (
                    "Yes: more than half of the products are zero, and this is all that it needs",
                    "It needs exactly two zeros in each four, in the weights. Zeros that fall anywhere in h are multiplied as usual.",
                ),
                (
                    "Only if the activations are sorted, so that their zeros come in pairs",
                    "Sorting activations changes nothing: the compressed operand of this path is the weight.",
                ),
                (
                    "Only with a large batch, in which every four of activations holds two zeros",
                    "The batch is the dense operand here. It even makes zeros in activations less useful, not more.",
                ),
            ],
        ),
        choice(
            "A weight with 50% zeros at random places is stored as CSR. Why is its product slower than the dense one?",
            [
                (
                    "Each kept weight brings an index to read and a scattered access, which costs more than is saved",
                    "Yes: with 32-bit indices half of the weights take as much memory as all of them, and no dense block is left.",
                ),
                (
                    "CSR keeps the zeros as well, so that nothing is saved and the indices come on top",
                    "CSR stores non-zeros only. But for each of them it stores a column number, and the reading is irregular.",
                ),
                (
                    "CSR has to be built anew from the dense weight in front of every product",
                    "Weights are fixed and converted once. (For activations this would be true: they are new at each step.)",
                ),
                (
                    "At 50% zeros the result needs a higher precision, which makes each product slower",
                    "The precision is the same, and the sums are even shorter. The cost lies in indices and irregular reading.",
                ),
            ],
        ),
        choice(
            "A model uses SiLU, x sigmoid(x), and its kernel was tested in Triton's interpreter on a CPU. What can you say?",
            [
                (
                    "SiLU gives no exact zeros, so skipping needs a threshold; the interpreter shows only correctness",
                    "Yes: negative inputs give small negative numbers. And an interpreted kernel runs as slow Python, on no GPU.",
                ),
                (
                    "SiLU is zero for negative inputs as ReLU is; the interpreter shows which kernel is the faster",
                    "SiLU is 0 only at 0 (or by underflow). And the interpreter's times say nothing about a compiled kernel.",
                ),
                (
                    "SiLU gives small numbers that may be skipped without any error; the times need a factor only",
                    "Leaving out small numbers changes the result a little. And no factor turns interpreted times into a GPU's.",
                ),
                (
                    "SiLU gives no exact zeros, so nothing can be saved; the interpreter shows that skipping is slow",
                    "A threshold (CATS) makes zeros at the price of a small error. And the interpreter's times prove nothing.",
                ),
            ],
        ),
    ],
)
