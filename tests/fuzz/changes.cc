// What a server sends of changes: pgoutput's messages, and the text of other plugins. Whatever
// comes is an error or one line of JSON; a state file is its own text or none.

#include <nlohmann/json.hpp>

#include "fuzz.h"
#include "logical/borders.h"
#include "logical/format.h"
#include "logical/state.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  const unsigned kind = fuzz::take(input);
  const std::string text(test::text_of(input));
  constexpr std::string_view kPlugins[] = {"pgoutput", "test_decoding", "wal2json", "other"};
  const auto plugin = kPlugins[kind % 4];
  if (const auto state = logical::parse_state(text)) {
    PGWEIR_CHECK(logical::parse_state(logical::to_text(*state)) == state);
  }
  logical::Borders borders(plugin, {{"format-version", std::to_string(kind / 4 % 3)}});
  logical::Formatter formatter(logical::Form::jsonl, plugin);
  // Several messages of one stream: a length in one byte, then the message.
  for (std::string_view rest = text; !rest.empty();) {
    const auto length = std::min<std::size_t>(static_cast<unsigned char>(rest[0]), rest.size() - 1);
    const auto message = rest.substr(1, length);
    rest.remove_prefix(1 + length);
    const auto border = borders.after_message(wal::Lsn(kind), message);
    PGWEIR_CHECK(!border || border->valid());
    PGWEIR_CHECK(!border || !borders.streaming());
    try {
      const auto line = formatter.line(wal::Lsn(kind), message);
      PGWEIR_CHECK(line.ends_with('\n') && line.find('\n') == line.size() - 1);
      // wal2json's own objects are passed on as they are, unread.
      if (plugin != "wal2json") PGWEIR_CHECK(nlohmann::json::accept(line));
    } catch (const Error& error) {
      PGWEIR_CHECK(plugin == "pgoutput" && error.kind() == ErrorKind::protocol);
    }
  }
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  using namespace std::string_literals;
  const auto stream = [](char kind, std::initializer_list<std::string> messages) {
    std::string text(1, kind);
    for (const auto& message : messages) text += static_cast<char>(message.size()) + message;
    return test::bytes_of(text);
  };
  const auto relation =
      "R\0\0\0\x10public\0t\0d\0\2\1k\0\0\0\0\x17\xff\xff\xff\xff\0v\0\0\0\0\x19\xff\xff\xff\xff"s;
  return {
      stream('\0', {"B\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\7\0\0\0\7"s, relation,
                    "I\0\0\0\x10N\0\2t\0\0\0\1\x31n"s, "U\0\0\0\x10O\0\2t\0\0\0\1\x31uN\0\2nn"s,
                    "D\0\0\0\x10K\0\2b\0\0\0\1\x31n"s, "T\0\0\0\1\1\0\0\0\x10"s,
                    "C\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\7"s}),
      stream('\0', {"S\0\0\0\7\1"s, "M\0\0\0\7\1\0\0\0\0\0\0\0\7pre\0\0\0\0\3con"s, "E",
                    "A\0\0\0\7\0\0\0\x8"s,
                    "c\0\0\0\7\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\7"s}),
      stream('\1', {"BEGIN 7", "table public.t: INSERT: a[text]:'x'", "COMMIT 7",
                    "opening a streamed block for transaction TXN 7",
                    "committing streamed transaction TXN 7"}),
      stream('\2', {R"({"nextlsn":"0/C8","change":[]})"}),
      stream('\x0a', {R"({"action":"B"})", R"({"action":"C"})"}),
      test::bytes_of("\1" + logical::to_text(logical::State())),
  };
}
