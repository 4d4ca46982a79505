#include "logical/format.h"

#include <fmt/format.h>

#include <iterator>

#include "logical/json_text.h"

namespace weir::logical {

namespace {

constexpr std::size_t kKept = 1 << 20;

}  // namespace

Formatter::Formatter(Form form, std::string_view plugin)
    : form_(form),
      decode_(form == Form::jsonl && plugin == "pgoutput"),
      json_already_(plugin == "wal2json") {}

std::string_view Formatter::line(wal::Lsn start, std::string_view message) {
  // A message may have 1 GB: memory for it is allocated at once, and released with the next.
  if (line_.capacity() > kKept) line_ = {};
  line_.clear();
  if (message.size() > kKept) line_.reserve(message.size() + message.size() / 16 + kKept);
  if (form_ == Form::plugin) {
    line_ += message;
  } else if (decode_) {
    pgoutput_.decode(start, message, line_);
  } else {
    if (start.valid())
      fmt::format_to(std::back_inserter(line_), R"({{"lsn":"{}","data":)", start);
    else
      line_ += R"({"lsn":null,"data":)";
    // A whole object on one line is unchanged; pieces of one and pretty-printed ones are not. Nor
    // is the output of format 1 for a message outside of transactions that follows a transaction.
    const bool object = json_already_ && message.starts_with('{') && message.ends_with('}') &&
                        !message.starts_with(R"({"change":[,)") &&
                        message.find('\n') == std::string_view::npos && is_utf8(message);
    if (object)
      line_ += message;
    else
      append_json_text(line_, message);
    line_ += '}';
  }
  line_ += '\n';
  return line_;
}

}  // namespace weir::logical
