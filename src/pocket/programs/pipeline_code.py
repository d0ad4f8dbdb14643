"""Code of a pipeline in four styles: comprehension, steps (helper variables), loop, functional (map and filter)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from src.pocket.programs.composition import block
from src.pocket.programs.operators import VARIABLES, Arrangement, Predicate, Reducer, Source, Transform, fill

NAMES = ("items", "parts", "picks", "rest", "more", "others")
Step = Predicate | Transform | Arrangement


@dataclass(frozen=True)
class Pass:
    """One pass over a sequence: `code` of each element for which `test` holds."""

    kind: str
    test: str = ""
    code: str = ""

    @property
    def variable(self) -> str:
        return VARIABLES[self.kind]

    @property
    def element(self) -> str:
        """The expression that the pass yields."""
        return fill(self.code, self.variable) if self.code else self.variable

    @property
    def condition(self) -> str:
        return fill(self.test, self.variable)


@dataclass(frozen=True)
class Sequence:
    """An expression with elements: `form` is "list", "lazy" (has no index, no length) or "generator" (unbracketed)."""

    code: str
    form: str

    def as_list(self) -> str:
        if self.form == "generator":
            return f"[{self.code}]"
        return f"list({self.code})" if self.form == "lazy" else self.code

    def as_argument(self) -> str:
        return f"[{self.code}]" if self.form == "generator" else self.code


@dataclass
class Writer:
    """The lines written so far; `style` decides how passes are rendered."""

    style: str
    lines: list[str] = field(default_factory=list)
    named: int = 0

    def name(self, expression: str) -> Sequence:
        """Assign an expression to a fresh variable."""
        variable = NAMES[self.named]
        self.named += 1
        self.lines.append(f"{variable} = {expression}")
        return Sequence(variable, "list")

    def apply(self, template: str, operand: Sequence, needs_list: bool) -> str:
        """Fill a code template; assign the operand to a name first if the template uses it more than once."""
        mentions = template.count("{x}") + template.count("{arg}")
        if mentions > 1 and not operand.code.isidentifier():
            operand = self.name(operand.as_list())
        if template.endswith(("({arg})", "{{arg}}")) and not needs_list:
            return template.replace("{arg}", operand.code)
        return fill(template, operand.as_list() if needs_list or "{x}" in template else operand.as_argument())

    def comprehend(self, operand: Sequence, step: Pass) -> Sequence:
        clause = f" if {step.condition}" if step.test else ""
        return Sequence(f"{step.element} for {step.variable} in {operand.as_argument()}{clause}", "generator")

    def functional(self, operand: Sequence, step: Pass) -> Sequence:
        code = operand.as_argument()
        if step.test:
            code = f"filter(lambda {step.variable}: {step.condition}, {code})"
        if step.code:
            code = f"map(lambda {step.variable}: {step.element}, {code})"
        return Sequence(code, "lazy")

    def loop(self, operand: Sequence, step: Pass, start: str, update: list[str]) -> None:
        inner = block(f"if {step.condition}:", update) if step.test else update
        self.lines += ([start] if start else []) + block(f"for {step.variable} in {operand.as_argument()}:", inner)

    def collect(self, operand: Sequence, step: Pass) -> Sequence:
        """A pass as a loop that appends to a list."""
        variable = NAMES[self.named]
        self.named += 1
        self.loop(operand, step, f"{variable} = []", [f"{variable}.append({step.element})"])
        return Sequence(variable, "list")


def passes(kind: str, steps: tuple[Step, ...]) -> list[Pass | Arrangement]:
    """Join neighboring filters and maps into passes, as a programmer would."""
    joined: list[Pass | Arrangement] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, Arrangement):
            joined.append(step)
        elif isinstance(step, Predicate):
            joined.append(Pass(kind, test=step.code))
        else:
            if isinstance(last, Pass) and not last.code:
                joined[-1] = replace(last, code=step.code)
            else:
                joined.append(Pass(kind, code=step.code))
            kind = step.gives
    return joined


def pipeline_body(source: Source, steps: tuple[Step, ...], reducer: Reducer, style: str) -> list[str]:
    """The function body of a pipeline, lines indented from column 0."""
    writer = Writer(style)
    operand = Sequence(source.code, "list" if source.is_list else "lazy")
    if source.code.startswith("["):  # a comprehension in a comprehension reads badly
        operand = writer.name(source.code)
    stages = passes(source.gives, steps)
    if style == "loop" or reducer.code is None:
        return _with_fold(writer, operand, stages, reducer, _final_kind(source, steps))
    if reducer.each:
        stages = _with_each(stages, reducer, _final_kind(source, steps))
    for index, stage in enumerate(stages):
        last = index == len(stages) - 1
        operand = _stage(writer, operand, stage, pair=last and reducer.code == "{{arg}}")
        if style == "steps" and not (last and (reducer.each or reducer.key == "list")):
            operand = writer.name(operand.as_list())
    writer.lines.append(f"return {writer.apply(reducer.code, operand, reducer.needs_list)}")
    return writer.lines


def _final_kind(source: Source, steps: tuple[Step, ...]) -> str:
    return next((step.gives for step in reversed(steps) if isinstance(step, Transform)), source.gives)


def _with_each(stages: list[Pass | Arrangement], reducer: Reducer, kind: str) -> list[Pass | Arrangement]:
    last = stages[-1] if stages else None
    if isinstance(last, Pass) and not last.code:
        return [*stages[:-1], replace(last, code=reducer.each)]
    return [*stages, Pass(kind, code=reducer.each)]


def _stage(writer: Writer, operand: Sequence, stage: Pass | Arrangement, pair: bool) -> Sequence:
    if isinstance(stage, Arrangement):
        return Sequence(writer.apply(stage.code, operand, needs_list=False), "list")
    if writer.style == "functional" and not pair:
        return writer.functional(operand, stage)
    return writer.comprehend(operand, stage)


def _with_fold(
    writer: Writer, operand: Sequence, stages: list[Pass | Arrangement], reducer: Reducer, kind: str
) -> list[str]:
    """The loop style: every pass is a loop, and the last one does the reducer's work if it has a loop form."""
    last = stages[-1] if stages else None
    once = reducer.fold is not None and reducer.fold.update.count("{arg}") + reducer.fold.update.count("{x}") <= 1
    keeps_last = reducer.fold is not None and isinstance(last, Pass) and (once or not last.code)
    for stage in stages[:-1] if keeps_last else stages:
        if isinstance(stage, Arrangement):
            operand = writer.name(writer.apply(stage.code, operand, needs_list=False))
        else:
            operand = writer.collect(operand, stage)
    if reducer.fold is None:
        assert reducer.code is not None
        writer.lines.append(f"return {writer.apply(reducer.code, operand, reducer.needs_list)}")
        return writer.lines
    final = last if keeps_last and isinstance(last, Pass) else Pass(kind)
    update = fill(reducer.fold.update, final.element).split("\n")
    writer.loop(operand, final, reducer.fold.start, update)
    writer.lines.append(f"return {reducer.fold.result}")
    return writer.lines
