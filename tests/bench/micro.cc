// What every byte, or every status, costs in the pure parts of its way.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "receive/stream_state.h"
#include "support/wal_builder.h"
#include "wal/crc32c.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wire/copy_messages.h"

namespace weir {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(16 << 20);
constexpr std::size_t kMessage = std::size_t{128} * 1024;  // what a walsender sends at once

/// 16 MB of records of `length` bytes each; bodies are random, so it does not compress.
std::vector<std::byte> records_of(std::uint32_t length) {
  weir::testing::WalBuilder::Options options;
  options.segment_size = kSize;
  options.start = kSize.start(1);
  weir::testing::WalBuilder builder(options);
  while (builder.end() < kSize.start(2)) builder.append_random(length);
  const auto bytes = builder.bytes(kSize.start(1), kSize.start(2));
  return {bytes.begin(), bytes.end()};
}

/// Three quarters of it are zeros.
std::vector<std::byte> compressible() {
  auto bytes = records_of(120);
  for (std::size_t at = 0; at < bytes.size(); ++at)
    if (at % 16 < 12) bytes[at] = std::byte{0};
  return bytes;
}

void count_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(bytes));
}

void verify_records(benchmark::State& state) {
  const auto wal = records_of(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    wal::RecordVerifier verifier({.segment_size = kSize}, kSize.start(1));
    for (auto left = std::span<const std::byte>(wal); !left.empty();) {
      const auto piece = left.first(std::min(left.size(), kMessage));
      if (verifier.feed(piece)) {
        state.SkipWithError("the WAL is damaged");
        return;
      }
      left = left.subspan(piece.size());
    }
  }
  count_bytes(state, wal.size());
}
BENCHMARK(verify_records)->Arg(48)->Arg(96)->Arg(250)->Arg(1000)->Arg(8000)->Arg(60000);

void crc(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{7});
  for (auto _ : state) benchmark::DoNotOptimize(wal::crc32c(~0u, bytes));
  count_bytes(state, bytes.size());
}
BENCHMARK(crc)->Arg(20)->Arg(64)->Arg(128)->Arg(255)->Arg(256)->Arg(1024)->Arg(8192);

void page_headers(benchmark::State& state) {
  const auto wal = records_of(200);
  for (auto _ : state)
    for (std::size_t at = 0; at < wal.size(); at += wal::kPageSize)
      benchmark::DoNotOptimize(wal::decode_page_header(std::span(wal).subspan(at)));
  count_bytes(state, wal.size());
}
BENCHMARK(page_headers);

void compress(benchmark::State& state) {
  const auto wal = state.range(1) != 0 ? compressible() : records_of(120);
  std::size_t size = 0;
  const codec::PackedSink sink = [&](std::span<const std::byte> bytes) { size += bytes.size(); };
  for (auto _ : state) {
    size = 0;
    const auto compressor =
        codec::make_compressor({codec::Method::zstd, static_cast<int>(state.range(0))}, wal.size());
    compressor->feed(wal, sink);
    compressor->finish(sink);
  }
  count_bytes(state, wal.size());
  state.counters["size"] = static_cast<double>(size) / static_cast<double>(wal.size());
}
BENCHMARK(compress)->ArgNames({"level", "compressible"})->Args({1, 1})->Args({3, 1})->Args({1, 0});

void decompress(benchmark::State& state) {
  const auto method = static_cast<codec::Method>(state.range(0));
  const auto wal = compressible();
  std::vector<std::byte> compressed;
  const auto compressor = codec::make_compressor({method, 1}, wal.size());
  const codec::PackedSink keep = [&](std::span<const std::byte> bytes) {
    compressed.insert(compressed.end(), bytes.begin(), bytes.end());
  };
  compressor->feed(wal, keep);
  compressor->finish(keep);
  const codec::Sink drop = [](std::span<const std::byte> bytes) {
    benchmark::DoNotOptimize(bytes.data());
    return true;
  };
  for (auto _ : state) {
    const auto decompressor = codec::make_decompressor(method);
    decompressor->feed(compressed, drop);
    decompressor->finish();
  }
  count_bytes(state, wal.size());
  state.SetLabel(std::string(codec::suffix(method)));
}
BENCHMARK(decompress)
    ->Arg(static_cast<int>(codec::Method::zstd))
    ->Arg(static_cast<int>(codec::Method::lz4))
    ->Arg(static_cast<int>(codec::Method::gzip));

/// One commit on its way through the engine: WAL in, a sync, a status out.
void one_commit(benchmark::State& state) {
  receive::StreamState::Options options;
  options.segment_size = kSize;
  const receive::Time now{};
  receive::StreamState engine(options, 1, kSize.start(1), now);
  const std::vector<std::byte> wal(200);
  for (auto _ : state) {
    engine.on_wal({.start = engine.received(), .server_end = engine.received() + 200, .wal = wal},
                  now);
    engine.on_written(engine.received(), now);
    benchmark::DoNotOptimize(engine.sync_due_at());
    engine.on_sync_done(engine.on_sync_started(engine.write()));
    if (const auto status = engine.take_status(now))
      benchmark::DoNotOptimize(wire::encode(*status, 0));
  }
}
BENCHMARK(one_commit);

}  // namespace
}  // namespace weir
