"""Templates of beginnings of code, by category, and the words that fill them.

A slot is a word's name in braces: `{noun}` as it stands below, `{Noun}` with its first letter
raised, `{NOUN}` in capitals. A slot that comes twice holds one word; braces of the code itself
are doubled. Every template ends where something has to follow.
"""

WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "verb": "load parse merge validate resolve encode filter group schedule render "
        "refresh archive convert split count publish check compare build update find sort cancel "
        "restore",
        "noun": "order invoice session ticket message report sensor route payment token "
        "product device playlist chapter recipe flight backup cluster review shipment account "
        "profile document event contract lesson patient vehicle auction warehouse snapshot "
        "subscription camera forecast tournament voucher machine comment deployment reservation",
        "role": "cache queue client handler store index builder scheduler gateway registry "
        "monitor planner",
        "field": "user_id created_at total_price file_name start_date row_count email_address "
        "retry_after page_size country_code weight_kg last_login line_items checksum priority "
        "latitude batch_number display_name expires_in owner_id",
        "option": "timeout limit strict verbose depth encoding default prefix capacity threshold "
        "interval offset",
        "prop": "userId createdAt totalPrice fileName startDate rowCount emailAddress retryAfter "
        "pageSize countryCode lastLogin lineItems checksum priority latitude displayName "
        "expiresIn ownerId",
        "setting": "timeout limit strict verbose maxDepth encoding fallback prefix capacity "
        "threshold interval onError",
        "type": "int str float bool bytes datetime Decimal Path UUID date",
        "ts": "string number boolean Date string[] number[] Buffer unknown",
        "rust": "u32 i64 f64 String bool Vec<u8> &str usize",
        "go": "string int int64 float64 bool []byte time.Time uint32",
        "error": "ValueError KeyError TimeoutError PermissionError ConnectionError TypeError "
        "LookupError OSError RuntimeError UnicodeDecodeError",
        "state": "pending active failed expired closed paused draft locked queued retired",
        "event": "click change submit select remove drag",
        "level": "error warning exception info",
        "size": "2 3 5 8 10 20 50 64 100 256 500 1000",
    }.items()
}

TEMPLATES: dict[str, tuple[str, ...]] = {
    "Python functions": (
        "def {verb}_{noun}({field}: {type}, {option}",
        "async def {verb}_{noun}s(client, {field}, limit={size}):\n    ",
        'def {verb}_{noun}s({noun}s, {field}):\n    """Return the {noun}s whose {field} is',
        "def {verb}_{noun}(path):\n    with open(path) as file:\n"
        "        {noun}s = json.load(file)\n"
        '    return [{noun} for {noun} in {noun}s if {noun}["{field}"]',
        "@lru_cache(maxsize={size})\ndef {verb}_{noun}({field}, {option}=None):\n"
        "    if {option} is",
        "def test_{verb}_{state}_{noun}():\n    {noun} = make_{noun}({field}={size})\n    assert",
        "def {verb}_{noun}s(rows, *, {option}={size}):\n    {noun}s = defaultdict(list)\n"
        "    for row in rows:\n        {noun}s[row.{field}].",
        "# {Verb} every {state} {noun} that has no {field} yet.\ndef ",
    ),
    "Type annotations": (
        "{noun}_by_{field}: dict[{type}, list[{Noun}{Role}",
        "{state}_{noun}s: List[{type}] = [{noun}.{field} for",
        "result: Dict[str, Tuple[{type}, {Noun}{Role}]] = {{\n    '{field}':",
        "def {verb}(self, {noun}: {Noun}, {option}: {type} | None = None) -> ",
        "on_{verb}: Callable[[{Noun}{Role}, {type}],",
        "{option}_for_{noun}: Optional[{Noun}{Role}] = None\n{field}: Annotated[{type}, ",
        "{Noun}{Role} = NewType('{Noun}{Role}', {type})\n{verb}_all: Iterator[",
        "class {Noun}Row(TypedDict):\n    {field}: {type}\n    {option}: NotRequired[",
    ),
    "Class definitions": (
        "class {Noun}(BaseModel):\n    {field}: {type}\n    {option}: Optional[",
        "@dataclass(frozen=True)\nclass {Noun}{Role}:\n    {field}: {type}\n    {option}: int = ",
        "class {Noun}{Role}:\n    def __init__(self, {field}, {option}={size}):\n"
        "        self._{field}",
        'class {State}{Noun}Error({error}):\n    """Raised when {field}',
        "class {Noun}State(str, Enum):\n    {STATE} = '{state}'\n    # {field}, {option}\n    ",
        "class {Noun}{Role}(ABC):\n    @abstractmethod\n    def {verb}(self, {field}: {type}) ->",
        "class {Noun}(models.Model):\n    {field} = models.CharField(max_length={size})\n"
        "    {option} = models.",
        "class {Noun}{Role}(Mapping[str, {type}]):\n    def __getitem__(self, {field}):\n        ",
    ),
    "JavaScript and TypeScript": (
        "function handle{Noun}{Event}(event, {{ {prop} }}) {{\n  const {setting} =",
        "interface {Noun} {{\n  {prop}: {ts};\n  {setting}?: ",
        "export async function {verb}{Noun}({prop}: {ts}): Promise<",
        "const {verb}{Noun}s = ({{ {prop}, {setting} }}) => {{\n  return {noun}s.",
        "export function use{Noun}({prop}) {{\n  const [{state}, set{State}] = useState({size});\n"
        "  useEffect(() => {{\n    ",
        "app.get('/{noun}s/:{prop}', async (req, res) => {{\n  const {noun} = await {verb}{Noun}(",
        "type {Noun}{Role}Props = {{\n  {prop}: {ts};\n  on{Event}: (",
        "describe('{verb}{Noun}', () => {{\n  it('keeps {prop} of {state} {noun}s', () => {{\n"
        "    expect(",
    ),
    "Rust": (
        "fn {verb}_{noun}({field}: {rust}, {option}: {rust}) -> Result<",
        "impl Iterator for {Noun}{Role} {{\n    type Item = ({rust}, {State});\n\n"
        "    fn next(&mut self) -> Option<",
        "pub struct {Noun}{Role} {{\n    pub {field}: {rust},\n    {option}:",
        "#[derive(Debug, Clone)]\npub enum {Noun}{Role} {{\n"
        "    {State} {{ {field}: {rust} }},\n    ",
        "impl {Noun}{Role} {{\n    pub fn {verb}(&self, {field}: {rust}) -> ",
        "let {state}: Vec<{rust}> = {noun}s\n    .iter()\n    .filter(|{noun}| {noun}.{field} >",
        "match {verb}_{noun}(&{field}, {size}) {{\n    Ok({state}) => {state},\n    Err(",
        "#[test]\nfn {verb}_keeps_{state}_{noun}() {{\n"
        "    let {noun} = {Noun}::with_{option}({size});\n"
        "    assert_eq!(",
    ),
    "Go": (
        "func {Verb}{Noun}(ctx context.Context, {prop} {go}) (*{Noun}, ",
        "type {Noun}Config struct {{\n\t{Setting} {go}\n\t{Prop} {go} `json:",
        "func (s *{Noun}{Role}) {Verb}(w http.ResponseWriter, r *http.Request) {{\n\t{prop} :=",
        "for _, {noun} := range {state} {{\n\tif {noun}.{Prop} == {noun}s[0].{Setting} {{\n\t\t",
        "if err := {role}.{Verb}(ctx, {noun}.{Prop}); err != nil {{\n\treturn ",
        "{noun}s := make(map[{go}]*{Noun}, {size})\nfor {prop} := range",
        "go func() {{\n\tdefer wg.Done()\n\t{state} <- {role}.{Verb}({noun}.{Prop}",
        "func Test{Verb}{Noun}(t *testing.T) {{\n\tgot, err := {Verb}{Noun}({size})\n"
        "\tif got.{Prop} != ",
    ),
    "Error handling": (
        "try:\n    {noun} = {verb}_{noun}({field})\nexcept {error} as error:\n    ",
        "try:\n    with {noun}_{role}.open({option}={size}) as {state}:\n        {verb}({state})\n"
        "except",
        "except {error} as e:\n    logger.{level}('cannot {verb} {noun} %s: %s', {field},",
        'if not {field}:\n    raise {error}(f"{state} {noun} has no {{{field}!r}}',
        "try {{\n  await {verb}{Noun}({prop}, {{ {setting}: {size} }});\n}} catch (error) {{\n  if",
        "for attempt in range({size}):\n    try:\n        return {role}.{verb}({field})\n"
        "    except {error}:\n        if",
        "@contextmanager\ndef {verb}_{noun}({field}, {option}):\n    try:\n        yield {noun}\n"
        "    finally:\n        ",
        "with pytest.raises({error}, match='{field}'):\n    {verb}_{state}_{noun}(",
    ),
}
