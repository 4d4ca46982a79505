#pragma once

#include <utility>

#include "archive/segment_reader.h"
#include "base/error.h"

// Other processes change an archive while it is read. A segment's file changes its name at most
// three times in its life: it is completed (N.partial → N), compressed (N → N.gz), and converted
// (N.gz → N.zst); finally it is removed. A reader that opens a name from a listing may therefore
// find that it is gone, and looks again. And a listing is not atomic: a file that is renamed while
// the directory is read may be in it under both names, or under neither. So what is absent from one
// listing counts only when the next one says the same.

namespace weir::archive {

/// To read one segment: each of its changes, the removal, and one more by another program.
inline constexpr int kMostLooksAtSegment = 6;
/// To read several segments, each of which may change once meanwhile.
inline constexpr int kMostLooksAtArchive = 20;
/// Number of listings until two agree. They may differ this often only while segments are completed
/// or removed at a very high rate; then the last one is used.
inline constexpr int kMostListings = 50;

/// The result of `look`, which is called again when a file that it reads is gone (is_gone()),
/// `most` times in all. It must look up its files each time.
template <typename Look>
auto look_again(int most, const Look& look) -> decltype(look()) {
  for (int looks = 1;; ++looks) {
    try {
      return look();
    } catch (const Error& error) {
      if (!is_gone(error) || looks == most) throw;
    }
  }
}

/// The second of two consecutive results of `list` for which `same(earlier, later)` is true; else
/// the last one.
template <typename List, typename Same>
auto list_until_same(const List& list, const Same& same) -> decltype(list()) {
  auto listed = list();
  for (int lists = 1; lists < kMostListings; ++lists) {
    auto again = list();
    const bool agree = same(listed, again);
    listed = std::move(again);
    if (agree) break;
  }
  return listed;
}

}  // namespace weir::archive
