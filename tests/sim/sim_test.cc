#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>

#include "sim_run.h"

namespace weir::sim {
namespace {

#if defined(__SANITIZE_THREAD__)
// It has one thread, and the tool keeps some 60 MB for ever of each seed's locks and fibers.
constexpr std::uint64_t kSeeds = 50;
#elif defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kSeeds = 1000;
#else
constexpr std::uint64_t kSeeds = 20'000;
#endif

/// A range lists all its failures, up to this number: a fault may break nearly every life.
constexpr int kMostFailures = 100;

/// PGWEIR_SEED=n one seed with its story; PGWEIR_SEEDS=a-b a range; else 1 to `fallback`.
struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t last;
  bool one = false;

  explicit Seeds(std::uint64_t fallback) : last(fallback) {
    if (const char* seed = std::getenv("PGWEIR_SEED")) {
      first = last = std::strtoull(seed, nullptr, 10);
      one = true;
    } else if (const char* range = std::getenv("PGWEIR_SEEDS")) {
      char* dash = nullptr;
      first = std::strtoull(range, &dash, 10);
      last = *dash == '-' ? std::strtoull(dash + 1, nullptr, 10) : first;
    }
  }
};

/// Of all steps of all runs (FNV-1a), for PGWEIR_DIGEST: a change that only saves time leaves it as
/// it was. The process ID in the names of temporary files is left out.
class Digest {
 public:
  void add(const RunResult& result) {
    for (const auto& line : result.story) add(line);
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  void add(std::string_view line) {
    while (!line.empty()) {
      const auto digits = std::min(line.find_first_not_of("0123456789abcdef"), line.size());
      const bool of_process = line.substr(digits).starts_with(".tmp");
      if (!of_process)
        for (const char each : line.substr(0, digits)) add(each);
      if (digits < line.size()) add(line[digits]);
      line.remove_prefix(std::min(digits + 1, line.size()));
    }
    add('\n');
  }
  void add(char each) { value_ = (value_ ^ static_cast<unsigned char>(each)) * 0x100000001B3; }

  std::uint64_t value_ = 0xCBF29CE484222325;
};

void print_story(std::uint64_t seed) {
  std::printf("---- seed %llu\n", static_cast<unsigned long long>(seed));
  static_cast<void>(simulate(seed, Mutant::none, Telling::printed));
  std::fflush(stdout);
}

/// Worlds come and go: their memory is kept for the next one, not given back to the kernel and
/// asked for again, which took a seventh of all time. (Sanitizers have a malloc of their own.)
void keep_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most it takes
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

TEST(Simulation, KeepsThePromises) {
  keep_memory();
  const Seeds seeds(kSeeds);
  std::printf("seeds %llu to %llu; PGWEIR_SEED=n shows one, PGWEIR_SEEDS=a-b chooses\n",
              static_cast<unsigned long long>(seeds.first),
              static_cast<unsigned long long>(seeds.last));
  if (seeds.one) print_story(seeds.first);
  const auto telling = std::getenv("PGWEIR_DIGEST") == nullptr ? Telling::none : Telling::kept;
  Digest digest;
  RunResult sum;
  const auto begin = std::clock();
  std::string failed;
  int failures = 0;
  for (auto seed = seeds.first; seed <= seeds.last; ++seed) {
    const auto result = simulate(seed, Mutant::none, telling);
    digest.add(result);
    if (result.violation) {
      if (failures == 0 && !seeds.one) print_story(seed);
      ADD_FAILURE() << "seed " << seed << " (again, with its story: PGWEIR_SEED=" << seed
                    << " sim_tests --gtest_filter=Simulation.KeepsThePromises): "
                    << result.violation->promise << ": " << result.violation->what;
      failed += fmt::format("{}{}", failed.empty() ? "" : " ", seed);
      if (++failures == kMostFailures) break;
    }
    sum.processes += result.processes;
    sum.power_losses += result.power_losses;
    sum.kills += result.kills;
    sum.failed_syncs += result.failed_syncs;
    sum.full_disks += result.full_disks;
    sum.refusals += result.refusals;
    sum.timelines += result.timelines;
    sum.steps += result.steps;
    sum.prunes += result.prunes;
    sum.imports += result.imports;
    sum.imported += result.imported;
    sum.hangs += result.hangs;
    sum.dropped += result.dropped;
    sum.told_to_go += result.told_to_go;
    sum.slots_moved += result.slots_moved;
    sum.second_tries += result.second_tries;
    sum.exhausted += result.exhausted;
    sum.sized += result.sized;
    sum.cut += result.cut;
    sum.recoveries += result.recoveries;
    sum.recoveries_beside += result.recoveries_beside;
    sum.verified_beside += result.verified_beside;
    sum.reported_beside += result.reported_beside;
    sum.served_beside += result.served_beside;
    sum.pushed += result.pushed;
    sum.compared += result.compared;
    sum.differences += result.differences;
    sum.spoiled += result.spoiled;
    sum.served += result.served;
    sum.followed += result.followed;
    sum.feedbacks += result.feedbacks;
    sum.stored += result.stored;
    sum.not_stored += result.not_stored;
    sum.left += result.left;
    sum.confirmed += result.confirmed;
    sum.confirmed_inside += result.confirmed_inside;
    sum.from_both += result.from_both;
  }
  if (failures != 0)
    std::printf("%d seed(s) failed: %s%s\n", failures, failed.c_str(),
                failures == kMostFailures ? ", and the seeds after the last one were not run" : "");
  // Of the processor, since others may want it, too.
  const auto seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const auto print = [](const char* what, std::uint64_t count) {
    std::printf("  %-24s %llu\n", what, static_cast<unsigned long long>(count));
  };
  print("processes", sum.processes);
  print("power losses", sum.power_losses);
  print("killed or ended", sum.kills);
  print("failed syncs", sum.failed_syncs);
  print("full disks", sum.full_disks);
  print("errors for a person", sum.refusals);
  print("timelines", sum.timelines);
  print("prunes", sum.prunes);
  print("imports", sum.imports);
  print("segments imported", sum.imported);
  print("hangs of the disk", sum.hangs);
  print("messages dropped", sum.dropped);
  print("walsenders told to go", sum.told_to_go);
  print("slots moved", sum.slots_moved);
  print("second processes", sum.second_tries);
  print("ended without memory", sum.exhausted);
  print("checks of all sizes", sum.sized);
  print("wrong sizes found", sum.cut);
  print("recoveries", sum.recoveries);
  print("recoveries beside a receiver", sum.recoveries_beside);
  print("verified beside a receiver", sum.verified_beside);
  print("status beside a receiver", sum.reported_beside);
  print("kB served beside a receiver", sum.served_beside / 1024);
  print("pushed beside a receiver", sum.pushed);
  print("kB compared", sum.compared / 1024);
  print("differences found", sum.differences);
  print("spoiled archives", sum.spoiled);
  print("kB served", sum.served / 1024);
  print("switches followed", sum.followed);
  print("feedback upstream", sum.feedbacks);
  print("objects stored", sum.stored);
  print("requests that failed", sum.not_stored);
  print("segments left to it", sum.left);
  print("confirmed as stored", sum.confirmed);
  print("confirmed inside a segment", sum.confirmed_inside);
  print("recoveries from both", sum.from_both);
  print("steps", sum.steps);
  if (telling == Telling::kept)
    std::printf("  %-24s %016llx\n", "digest of all steps",
                static_cast<unsigned long long>(digest.value()));
  std::printf("  %-24s %.0f\n", "seeds per second",
              static_cast<double>(seeds.last - seeds.first + 1) / seconds);
  if (seeds.last - seeds.first < 999) return;
  // The simulation is worth something only if it gets into trouble.
  EXPECT_GT(sum.power_losses, seeds.last - seeds.first);
  EXPECT_GT(sum.kills, 0U);
  EXPECT_GT(sum.failed_syncs, 0U);
  EXPECT_GT(sum.full_disks, 0U);
  EXPECT_GT(sum.refusals, 0U);
  EXPECT_GT(sum.prunes, 0U);
  EXPECT_GT(sum.imports, 0U);
  EXPECT_GT(sum.imported, 0U);
  EXPECT_GT(sum.hangs, 0U);
  EXPECT_GT(sum.dropped, 0U);
  EXPECT_GT(sum.told_to_go, 0U);
  EXPECT_GT(sum.slots_moved, 0U);
  EXPECT_GT(sum.second_tries, 0U);
  EXPECT_GT(sum.exhausted, 0U);
  EXPECT_GT(sum.sized, 0U);
  EXPECT_GT(sum.cut, 0U);
  EXPECT_GT(sum.recoveries, 0U);
  EXPECT_GT(sum.recoveries_beside, 0U);
  EXPECT_GT(sum.verified_beside, 0U);
  EXPECT_GT(sum.reported_beside, 0U);
  EXPECT_GT(sum.served_beside, 0U);
  EXPECT_TRUE(sum.pushed > 0 || seeds.last - seeds.first < 4'999);  // it is rare
  EXPECT_GT(sum.compared, 0U);
  EXPECT_GT(sum.differences, 0U);
  EXPECT_GT(sum.spoiled, 0U);
  EXPECT_GT(sum.served, 0U);
  EXPECT_GT(sum.followed, 0U);
  EXPECT_GT(sum.feedbacks, 0U);
  EXPECT_GT(sum.stored, 0U);
  EXPECT_GT(sum.not_stored, 0U);
  EXPECT_GT(sum.left, 0U);
  EXPECT_GT(sum.confirmed, 0U);
  EXPECT_GT(sum.confirmed_inside, 0U);
  EXPECT_GT(sum.from_both, 0U);
}

TEST(Simulation, IsDecidedByItsSeedAlone) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const auto one = simulate(seed, Mutant::none, Telling::kept);
    const auto two = simulate(seed, Mutant::none, Telling::kept);
    EXPECT_EQ(one.story, two.story);
    EXPECT_GT(one.story.size(), 20U);
  }
}

}  // namespace
}  // namespace weir::sim
