#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "archive/durable_end.h"
#include "net/wake.h"

namespace weir::backup {

enum class Format { plain, tar };

/// When a retention policy removes backups; both may be set.
struct Rules {
  std::optional<std::chrono::milliseconds> window;
  std::optional<std::size_t> count;
  [[nodiscard]] bool any() const { return window || count; }
};

struct Options {
  std::string archive;   ///< directory; of list() it may be empty
  std::string to;        ///< directory of the backups
  std::string conninfo;  ///< of the server
  Format format = Format::plain;
  std::string compress;  ///< METHOD[:LEVEL] of tar files; empty: none
  std::string rate;      ///< pg_basebackup's --max-rate; empty: no limit
  std::optional<std::string> bindir;
  bool incremental = false;
  std::size_t full_every = 7;
  std::chrono::milliseconds wait{std::chrono::minutes(10)};
  Rules rules;
  bool dry_run = false;

  archive::AskDurableEnd durable_end;            ///< of the archive's receiver
  std::function<void(const std::string&)> tell;  ///< what is done now
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  std::function<bool()> stop;
  const net::Wake* interrupt = nullptr;  ///< raised when `stop` says true
};

}  // namespace weir::backup
