"""Benchmark functions for optimizers. Each takes the array `x` of the inputs, and returns a float.

The formulas, bounds and minima of all are in the library of Surjanovic and Bingham; where a function was published is
in its docstring. The names are those of `f3dasm.datageneration.functions`.

S. Surjanovic, D. Bingham, Virtual Library of Simulation Experiments: Test Functions and Datasets, Simon Fraser
University, 2013, https://www.sfu.ca/~ssurjano/optimization.html
"""

from __future__ import annotations

import math
from typing import Any

__all__ = [
    "ackley",
    "beale",
    "bohachevsky",
    "booth",
    "branin",
    "bukin",
    "crossintray",
    "dixonprice",
    "drop_wave",
    "easom",
    "eggholder",
    "griewank",
    "holder_table",
    "levy",
    "rastrigin",
    "rosenbrock",
    "rotatedhyperellipsoid",
    "schwefel",
    "sphere",
    "styblinskitang",
    "threehump",
    "zakharov",
]


def ackley(x: Any, a: float = 20.0, b: float = 0.2, c: float = 2 * math.pi) -> float:
    """Return the Ackley function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, usually from -32.768 to 32.768.
    a : float, default 20
        Depth of the surface.
    b : float, default 0.2
        Width of the hole in its middle.
    c : float, default 2 pi
        Frequency of its waves.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    D. H. Ackley, A Connectionist Machine for Genetic Hillclimbing, Kluwer, 1987.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    mean_of_squares, mean_of_cosines = np.mean(x**2), np.mean(np.cos(c * x))
    return float(a + math.e - a * np.exp(-b * np.sqrt(mean_of_squares)) - np.exp(mean_of_cosines))


def beale(x: Any) -> float:
    """Return the Beale function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -4.5 to 4.5.

    Returns
    -------
    float
        Its value. The minimum is 0 at (3, 0.5).

    References
    ----------
    E. M. L. Beale, On an Iterative Method for Finding a Local Minimum of a Function of More than One Variable,
    Technical Report 25, Princeton University, 1958.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    terms = ((1.5, 1), (2.25, 2), (2.625, 3))
    return float(sum((constant - first * (1 - second**power)) ** 2 for constant, power in terms))


def bohachevsky(x: Any) -> float:
    """Return the first Bohachevsky function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -100 to 100.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, 0).

    References
    ----------
    I. O. Bohachevsky, M. E. Johnson, M. L. Stein, Generalized Simulated Annealing for Function Optimization,
    Technometrics 28(3), 1986.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    waves = 0.3 * np.cos(3 * np.pi * first) + 0.4 * np.cos(4 * np.pi * second)
    return float(first**2 + 2 * second**2 - waves + 0.7)


def booth(x: Any) -> float:
    """Return the Booth function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -10 to 10.

    Returns
    -------
    float
        Its value. The minimum is 0 at (1, 3).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    return float((first + 2 * second - 7) ** 2 + (2 * first + second - 5) ** 2)


def branin(
    x: Any,
    a: float = 1.0,
    b: float = 5.1 / (4 * math.pi**2),
    c: float = 5 / math.pi,
    r: float = 6.0,
    s: float = 10.0,
    t: float = 1 / (8 * math.pi),
) -> float:
    """Return the Branin function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, the first from -5 to 10, the second from 0 to 15.
    a, b, c, r, s, t : float, default 1, 5.1 / (4 pi**2), 5 / pi, 6, 10, 1 / (8 pi)
        Its constants.

    Returns
    -------
    float
        Its value. The minimum is 0.397887 at (-pi, 12.275), (pi, 2.275) and (9.42478, 2.475).

    References
    ----------
    F. H. Branin, Widely Convergent Method for Finding Multiple Solutions of Simultaneous Nonlinear Equations,
    IBM Journal of Research and Development 16(5), 1972.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    return float(a * (second - b * first**2 + c * first - r) ** 2 + s * (1 - t) * np.cos(first) + s)


def bukin(x: Any) -> float:
    """Return the sixth Bukin function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, the first from -15 to -5, the second from -3 to 3.

    Returns
    -------
    float
        Its value. The minimum is 0 at (-10, 1).

    References
    ----------
    A. D. Bukin, New Minimization Strategy for Non-Smooth Functions, Budker Institute of Nuclear Physics,
    preprint 97-79, Novosibirsk, 1997.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    return float(100 * np.sqrt(np.abs(second - 0.01 * first**2)) + 0.01 * np.abs(first + 10))


def crossintray(x: Any) -> float:
    """Return the cross-in-tray function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -10 to 10.

    Returns
    -------
    float
        Its value. The minimum is -2.06261 at (1.34941, 1.34941), and with each sign of both.

    References
    ----------
    S. K. Mishra, Some New Test Functions for Global Optimization and Performance of Repulsive Particle Swarm Method,
    MPRA Paper 2718, 2006.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    height = np.exp(np.abs(100 - np.hypot(*x) / np.pi))
    return float(-0.0001 * (np.abs(np.prod(np.sin(x)) * height) + 1) ** 0.1)


def dixonprice(x: Any) -> float:
    """Return the Dixon-Price function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -10 to 10.

    Returns
    -------
    float
        Its value. The minimum is 0 at x_i = 2 ** (2 ** (1 - i) - 1), for i = 1, 2, ....

    References
    ----------
    L. C. W. Dixon, R. C. Price, Truncated Newton Method for Sparse Unconstrained Optimization Using Automatic
    Differentiation, Journal of Optimization Theory and Applications 60(2), 1989.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    weights = np.arange(2, len(x) + 1)
    return float((x[0] - 1) ** 2 + np.sum(weights * (2 * x[1:] ** 2 - x[:-1]) ** 2))


def drop_wave(x: Any) -> float:
    """Return the drop-wave function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -5.12 to 5.12.

    Returns
    -------
    float
        Its value. The minimum is -1 at (0, 0).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    squares = np.sum(x**2)
    return float(-(1 + np.cos(12 * np.sqrt(squares))) / (0.5 * squares + 2))


def easom(x: Any) -> float:
    """Return the Easom function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -100 to 100.

    Returns
    -------
    float
        Its value. The minimum is -1 at (pi, pi).

    References
    ----------
    E. E. Easom, A Survey of Global Optimization Techniques, thesis, University of Louisville, 1990.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(-np.prod(np.cos(x)) * np.exp(-np.sum((x - np.pi) ** 2)))


def eggholder(x: Any) -> float:
    """Return the eggholder function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -512 to 512.

    Returns
    -------
    float
        Its value. The minimum is -959.6407 at (512, 404.2319).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x[0], x[1] + 47
    left, right = np.sqrt(np.abs(second + first / 2)), np.sqrt(np.abs(first - second))
    return float(-second * np.sin(left) - first * np.sin(right))


def griewank(x: Any) -> float:
    """Return the Griewank function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -600 to 600.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    A. O. Griewank, Generalized Descent for Global Optimization, Journal of Optimization Theory and Applications 34(1),
    1981.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    roots = np.sqrt(np.arange(1, len(x) + 1))
    return float(1 + np.sum(x**2) / 4000 - np.prod(np.cos(x / roots)))


def holder_table(x: Any) -> float:
    """Return the Hölder table function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -10 to 10.

    Returns
    -------
    float
        Its value. The minimum is -19.2085 at (8.05502, 9.66459), and with each sign of both.

    References
    ----------
    S. K. Mishra, Some New Test Functions for Global Optimization and Performance of Repulsive Particle Swarm Method,
    MPRA Paper 2718, 2006.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    height = np.exp(np.abs(1 - np.hypot(*x) / np.pi))
    return float(-np.abs(np.sin(x[0]) * np.cos(x[1]) * height))


def levy(x: Any) -> float:
    """Return the Levy function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -10 to 10.

    Returns
    -------
    float
        Its value. The minimum is 0 at (1, ..., 1).

    References
    ----------
    A. V. Levy, A. Montalvo, The Tunneling Algorithm for the Global Minimization of Functions, SIAM Journal on
    Scientific and Statistical Computing 6(1), 1985.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    w = 1 + (x - 1) / 4
    first = np.sin(np.pi * w[0]) ** 2
    inner = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(first + inner + last)


def rastrigin(x: Any) -> float:
    """Return the Rastrigin function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -5.12 to 5.12.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    L. A. Rastrigin, Systems of Extremal Control, Nauka, Moscow, 1974.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(10 * len(x) + np.sum(x**2 - 10 * np.cos(2 * np.pi * x)))


def rosenbrock(x: Any) -> float:
    """Return the Rosenbrock function.

    Parameters
    ----------
    x : array of float
        The point: two or more inputs, from -5 to 10.

    Returns
    -------
    float
        Its value. The minimum is 0 at (1, ..., 1).

    References
    ----------
    H. H. Rosenbrock, An Automatic Method for Finding the Greatest or Least Value of a Function, The Computer Journal
    3(3), 1960.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def rotatedhyperellipsoid(x: Any) -> float:
    """Return the rotated hyper-ellipsoid function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -65.536 to 65.536.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(np.sum(np.cumsum(x**2)))


def schwefel(x: Any) -> float:
    """Return the Schwefel function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -500 to 500.

    Returns
    -------
    float
        Its value. The minimum is 0 at (420.9687, ..., 420.9687), rounded.

    References
    ----------
    H.-P. Schwefel, Numerical Optimization of Computer Models, Wiley, 1981.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(418.9829 * len(x) - np.sum(x * np.sin(np.sqrt(np.abs(x)))))


def sphere(x: Any) -> float:
    """Return the sphere function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -5.12 to 5.12.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    K. A. De Jong, An Analysis of the Behavior of a Class of Genetic Adaptive Systems, thesis, University of Michigan,
    1975.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(np.sum(x**2))


def styblinskitang(x: Any) -> float:
    """Return the Styblinski-Tang function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -5 to 5.

    Returns
    -------
    float
        Its value. The minimum is -39.16617 for each input, at (-2.903534, ..., -2.903534).

    References
    ----------
    M. A. Styblinski, T.-S. Tang, Experiments in Nonconvex Optimization: Stochastic Approximation with Function
    Smoothing and Simulated Annealing, Neural Networks 3(4), 1990.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    return float(np.sum(x**4 - 16 * x**2 + 5 * x) / 2)


def threehump(x: Any) -> float:
    """Return the three-hump camel function.

    Parameters
    ----------
    x : array of float
        The point: two inputs, from -5 to 5.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, 0).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    first, second = x
    return float(2 * first**2 - 1.05 * first**4 + first**6 / 6 + first * second + second**2)


def zakharov(x: Any) -> float:
    """Return the Zakharov function.

    Parameters
    ----------
    x : array of float
        The point: any number of inputs, from -5 to 10.

    Returns
    -------
    float
        Its value. The minimum is 0 at (0, ..., 0).

    References
    ----------
    S. Surjanovic, D. Bingham, as above.
    """
    import numpy as np

    x = np.asarray(x, dtype=float)
    weighted = np.sum(np.arange(1, len(x) + 1) * x) / 2
    return float(np.sum(x**2) + weighted**2 + weighted**4)
