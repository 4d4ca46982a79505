#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include "archive/wal_reader.h"
#include "io/shelf.h"
#include "wal/lsn.h"

namespace weir::restore {

/// WAL in one file, or in the data being written, from its first byte on. Does not own it.
class ContentSource final : public archive::WalSource {
 public:
  ContentSource(wal::Lsn start, io::Bytes& content) : start_(start), content_(content) {}

  [[nodiscard]] Read read(wal::Lsn at, std::span<std::byte> into) override {
    if (at < start_) return {};
    const auto count = content_.read_at(at - start_, into);
    return {count > 0 ? State::bytes : State::end, count};
  }

 private:
  wal::Lsn start_;
  io::Bytes& content_;
};

/// WAL that a function returns.
class AskedSource final : public archive::WalSource {
 public:
  using Ask = std::function<Read(wal::Lsn at, std::span<std::byte> into)>;
  explicit AskedSource(Ask ask) : ask_(std::move(ask)) {}

  [[nodiscard]] Read read(wal::Lsn at, std::span<std::byte> into) override {
    return ask_(at, into);
  }

 private:
  Ask ask_;
};

}  // namespace weir::restore
