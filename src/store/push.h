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
#include "io/directory.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/signify.h"
#include "store/uploader.h"

namespace weir::store {

/// Sends what an archive has finished and a store has not.
struct PushOptions {
  std::string store_name{};  ///< which store, and where in it: as it stands in the mark
  std::string shown_name{};  ///< likewise, for people
  std::size_t jobs = 4;
  /// How long one file's request is tried again for.
  std::chrono::milliseconds retry_for{60'000};
  std::function<bool()> stop = nullptr;  ///< asked now and then: begin nothing more
  std::function<void(std::size_t done, std::size_t all)> progress = nullptr;
  Sealing sealing{};
  std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: the manifest is not signed
  std::uint64_t seed = 0;  ///< of what must not be guessed, nor happen in step
};

struct PushResult {
  std::size_t segments = 0;  ///< sent
  std::size_t histories = 0;
  std::uint64_t bytes = 0;
  std::size_t were_there = 0;
  std::size_t not_compared = 0;  ///< of these: encrypted, by another archiver or with a lost key
  std::size_t vanished = 0;      ///< were sent before, and were gone from the store
  std::size_t pending = 0;       ///< files that do not count as sent
  std::string next{};            ///< the first of them
  bool stopped = false;
  std::string manifest{};         ///< the chain's name; empty: there was nothing to be told
  std::string head{};             ///< hash of its last line
  std::vector<Error> failures{};  ///< at most one of each file
};

/// Each finished segment and history of the archive that the mark (mark.h) does not have, or that
/// the store no longer has (one listing, each time): in order per timeline, some at once, each as
/// one object that is written once. The mark moves over an unbroken front only, and only over what
/// the store has confirmed. Beside a receiver, of any make, or alone; not beside another one of its
/// kind: Error{retry}. Throws Error{conflict} if the store holds another cluster's WAL there,
/// StoreError if it cannot be had, Error{durability} if the mark cannot be written.
[[nodiscard]] PushResult push(io::Directory& archive, ObjectStore& store, const Layout& layout,
                              const PushOptions& options, Threads& threads, Log& log);

}  // namespace weir::store
