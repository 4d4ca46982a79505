#pragma once

#include <string>
#include <string_view>

#include "logical/pgoutput.h"
#include "wal/lsn.h"

namespace weir::logical {

/// The format of the output.
enum class Form {
  plugin,  ///< as returned by the plugin, each followed by a newline
  jsonl,   ///< one JSON object a line, with its position; pgoutput's messages decoded
};

/// Converts the messages of one stream to the bytes of the output. One thread; pure.
class Formatter {
 public:
  Formatter(Form form, std::string_view plugin);
  /// Returns the bytes of the message; valid until the next call. Throws Error{protocol} for an
  /// invalid pgoutput message.
  [[nodiscard]] std::string_view line(wal::Lsn start, std::string_view message);
  /// A new stream starts.
  void reset() { pgoutput_ = Pgoutput(); }

 private:
  Form form_;
  bool decode_;
  bool json_already_;
  Pgoutput pgoutput_;
  std::string line_;
};

}  // namespace weir::logical
