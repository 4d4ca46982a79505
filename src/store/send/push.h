#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/send/uploader.h"

namespace weir::store {

/// Options for uploading an archive's complete files that a store lacks.
struct PushOptions {
  std::string store_name{};  ///< identifies store and place, as in the mark
  std::string shown_name{};  ///< likewise, for messages
  std::size_t jobs = 4;
  /// How long a request of one file is retried.
  std::chrono::milliseconds retry_for{60'000};
  std::function<bool()> stop = nullptr;  ///< polled: true starts nothing more
  std::function<void(std::size_t done, std::size_t all)> progress = nullptr;
  Sealing sealing{};
  std::optional<codec::Compression> compression{};   ///< of segments; nullopt: as the files
  std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: the manifest is not signed
  std::uint64_t seed = 0;  ///< of identifiers and delays that must not be predictable or
                           ///< synchronized
};

struct PushResult {
  std::size_t segments = 0;  ///< sent
  std::size_t histories = 0;
  std::uint64_t bytes = 0;
  std::size_t were_there = 0;
  std::size_t not_compared = 0;  ///< of these (Uploader::Result::compared)
  std::size_t vanished = 0;      ///< had been sent, and were missing in the store
  std::size_t pending = 0;       ///< files that do not count as sent
  std::string next{};            ///< the first of them
  bool stopped = false;
  std::string manifest{};         ///< the chain's name; empty: no lines were due
  std::string head{};             ///< hash of its last line
  std::vector<Error> failures{};  ///< at most one per file
};

/// Uploads each complete segment and history of the archive that is not in the mark (mark.h), or no
/// longer in the store (one listing each time, which may fail): in order per timeline, several at
/// once, each as one object that is written once. The mark covers only an unbroken sequence, and
/// only what the store has confirmed. Can run alongside any receiver, or alone, but not alongside
/// another push: Error{retry}. Throws Error{conflict} if the place has another cluster's WAL,
/// StoreError if the store is unavailable, Error{durability} if the mark cannot be written.
[[nodiscard]] PushResult push(io::Directory& archive, ObjectStore& store, const Layout& layout,
                              const PushOptions& options, Threads& threads, Log& log);

}  // namespace weir::store
